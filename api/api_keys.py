"""The keys of which a request has to show one: from API_KEYS, and from a file that is read again when it changes.

Keys are held as digests alone, so that nothing which prints an object can print one.
"""

import hashlib
import hmac
import logging
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from shared.errors import SettingsError
from shared.settings import Settings

FEWEST_CHARACTERS = 16
FEWEST_DIFFERENT_CHARACTERS = 6
KEY = re.compile(r"[!-+\--~]+", re.ASCII)
"""Visible ASCII without the comma: what every HTTP client can send, and an environment variable can list."""

RACY_SECONDS = 2.0
"""A file may change twice within one tick of its clock: so long after a change it is read at each request."""

log = logging.getLogger("api")

Digest = bytes


@dataclass
class ApiKeys:
    """All keys that are good at the moment."""

    given: list[Digest] = field(repr=False)
    file: "KeyFile | None" = None
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """The keys that the settings name, None where they name none.

        Raises `SettingsError`, which names the variable and never a key, for keys that are not there or too weak.
        """
        listed = settings.api_keys.get_secret_value()
        if not listed and settings.api_keys_file is None:
            return None
        given = checked_digests("API_KEYS", listed.split(",")) if listed else []
        return cls(given, KeyFile(settings.api_keys_file) if settings.api_keys_file else None)

    def accept(self, key: bytes) -> bool:
        """Whether it is one of the keys; takes the same time whichever it is, and however much of it is right."""
        digest = digest_of(key)
        return sum([self.compare(digest, each) for each in self.known()]) > 0

    def known(self) -> list[Digest]:
        """All keys that are good now."""
        return [*self.given, *(self.file.digests() if self.file else ())]


def operator_keys(settings: Settings) -> ApiKeys | None:
    """The keys of who may change what is served, None where there are none.

    Raises `SettingsError` as above, and for a key that is a user's too.
    """
    listed = settings.operator_keys.get_secret_value()
    if not listed:
        return None
    operators = ApiKeys(checked_digests("OPERATOR_KEYS", listed.split(",")))
    users = ApiKeys.from_settings(settings)
    for place, digest in enumerate(operators.given, start=1):
        if users and digest in users.known():
            raise SettingsError(f"OPERATOR_KEYS: key {place} is one of the users' keys too: take another one.")
    return operators


@dataclass
class KeyFile:
    """One key a line; empty lines and what follows a `#` say nothing.

    A file that cannot be used any more leaves the keys that were read before in force, and says so in the log.
    """

    path: Path
    clock: Callable[[], float] = time.time
    _digests: list[Digest] = field(init=False, repr=False)
    _seen: tuple[int, int, int] | None = field(default=None, init=False)
    _problem: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._digests = self._read()

    def digests(self) -> list[Digest]:
        """The keys as the file has them now."""
        try:
            if self._signature() != self._seen:
                self._take(self._read())
            self._problem = ""
        except SettingsError as error:
            if str(error) != self._problem:
                log.error("%s The keys that were read before stay in force.", error)
            self._problem = str(error)
        return self._digests

    def _take(self, digests: list[Digest]) -> None:
        if digests != self._digests:
            log.info("the API keys were read again: there are %d now", len(digests))
        self._digests = digests

    def _read(self) -> list[Digest]:
        signature = self._signature()
        try:
            lines = self.path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
        except OSError as error:
            raise self._unreadable(error) from None
        digests = checked_digests(f"API_KEYS_FILE={self.path}", filter(None, map(without_comment, lines)))
        is_settled = self.clock() - signature[0] / 1e9 > RACY_SECONDS
        self._seen = signature if is_settled else None
        return digests

    def _signature(self) -> tuple[int, int, int]:
        """What is different once the file has been changed; its first number is the time of the change in ns."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise self._unreadable(error) from None
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"API_KEYS_FILE={self.path} cannot be used: it is not a file.")
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _unreadable(self, error: OSError) -> SettingsError:
        return SettingsError(f"API_KEYS_FILE={self.path} cannot be read: {error.strerror}.")


def without_comment(line: str) -> str:
    """A line of the file without its comment and the spaces around it."""
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()


def digest_of(key: bytes) -> Digest:
    """What a key is held and compared as."""
    return hashlib.sha256(key).digest()


def checked_digests(source: str, keys: Iterable[str]) -> list[Digest]:
    """The digests of keys that are fit to be used; raises `SettingsError` with the place of one that is not."""
    digests = []
    for place, key in enumerate(map(str.strip, keys), start=1):
        if problem := what_is_wrong_with(key):
            raise SettingsError(f"{source}: key {place} cannot be used: {problem}.")
        digests.append(digest_of(key.encode()))
    if not digests:
        raise SettingsError(f"{source} holds no key: add one, for example of `openssl rand -hex 32`.")
    return digests


def what_is_wrong_with(key: str) -> str:
    """Why a key is not fit to be used, empty where it is."""
    if not key:
        return "it is empty"
    if not KEY.fullmatch(key):
        return "it may hold letters, digits and signs of ASCII, no space and no comma"
    if len(key) < FEWEST_CHARACTERS or len(set(key)) < FEWEST_DIFFERENT_CHARACTERS:
        return (
            f"it is easily guessed (fewer than {FEWEST_CHARACTERS} characters, or the same few again and again); "
            "take one of `openssl rand -hex 32`"
        )
    return ""
