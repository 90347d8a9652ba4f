"""How a command is told which corpus is meant: a folder, an archive, `demo`, a revision on the hub, or nothing."""

import re
from dataclasses import dataclass
from pathlib import Path

from shared.artifacts import ARCHIVE_NAME, DEMO, find_corpus, open_corpus_folder
from shared.errors import ArtifactError, SettingsError
from shared.settings import Settings

HUB_PREFIX = "hub:"
HUB_FORM = re.compile(r"hub:(?:(?P<repo>[^@]+)@)?(?P<revision>[^@/]+)")
HELP = (
    f"a folder, a {ARCHIVE_NAME}, `demo`, hub:REVISION for that revision of DATA_REPO, or hub:OWNER/NAME@REVISION. "
    "What is on the hub is downloaded into DATA_DIR, without HF_TOKEN: fetch a private data set once with "
    "`HF_TOKEN=… premises fetch`."
)
"""For `--help` of the commands that take it."""


@dataclass(frozen=True, slots=True)
class NamedCorpus:
    """A corpus that somebody named, opened."""

    name: str
    folder: Path
    archive: Path | None
    """What the folder was unpacked from."""


def open_named_corpus(argument: str | None, settings: Settings) -> NamedCorpus:
    """The corpus that an argument means, None: the one that the settings name.

    Raises `SettingsError` for what is no such argument, `ArtifactError` or `CorpusError` where it cannot be opened.
    """
    chosen = settings_of_corpus(argument, settings)
    if not chosen.data and not chosen.data_revision and argument is None:
        raise SettingsError("No corpus is named: give one to the command, or set DATA or DATA_REVISION.")
    found = find_corpus(chosen)
    folder = open_corpus_folder(chosen, found)
    name = argument or chosen.data or f"{HUB_PREFIX}{chosen.data_repo}@{chosen.data_revision}"
    return NamedCorpus(name, folder, found if found.is_file() else None)


def settings_of_corpus(argument: str | None, settings: Settings) -> Settings:
    """The settings with the corpus that an argument means; raises `SettingsError` or `ArtifactError` as above."""
    return settings if argument is None else settings.model_copy(update=_fields(argument))


def _fields(argument: str) -> dict[str, str]:
    """The settings that name this corpus."""
    if argument.startswith(HUB_PREFIX):
        if (form := HUB_FORM.fullmatch(argument)) is None:
            raise SettingsError(f"{argument!r} names no revision: write hub:REVISION or hub:OWNER/NAME@REVISION.")
        repo = {"data_repo": form["repo"]} if form["repo"] else {}
        return {"data": "", "data_revision": form["revision"], **repo}
    if argument != DEMO and not Path(argument).expanduser().exists():
        raise ArtifactError(
            f"There is no corpus {argument}: name a folder, a {ARCHIVE_NAME}, `demo`, or hub:REVISION for the hub."
        )
    return {"data": argument}
