"""Unpacks a corpus archive (`premises.tar.gz`) once, safely, into a folder named by the archive's hash."""

import hashlib
import lzma
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from filelock import FileLock

from shared.errors import ArtifactError

if TYPE_CHECKING or sys.version_info >= (3, 12):
    import tarfile
else:  # that of Python 3.11.0 to 3.11.3, which Debian 12 has, knows no extraction filters
    from backports import tarfile

NEEDED_FILES = frozenset({"revision", "Modules.jsonl", "HammerBlacklist.jsonl"})
NEEDED_FOLDER = "Declarations"
MOST_PARTS = 3
"""Of the path of a corpus file: perhaps a top-level folder, the folder, the file."""

MOST_MEMBERS = 1_000_000
READ_BYTES = 1 << 20
MOST_TRAILING_BYTES = 64 * READ_BYTES
MOST_UNPACKED_BYTES = 16 * 1024**3
"""Far above what Mathlib needs (20,000 members, 2 GB with all its imports), and far below a full disk's worth."""


UNREADABLE = (
    *(tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError),
    *(ValueError, OverflowError, MemoryError),  # of headers that say odd things
)


class _StrictTarInfo(tarfile.TarInfo):
    """Refuses a broken or missing header, which tarfile takes for the archive's end: only the end mark is one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(str(error)) from error


def unpack_corpus(archive: Path, root: Path) -> Path:
    """The corpus folder of an archive, unpacked under `root` unless an earlier start did so.

    Only what serving needs is unpacked.  The corpus may lie in one top-level folder.  A kill leaves nothing that a
    later start would take for whole.  Raises `ArtifactError` where the archive is broken, unsafe or no corpus.
    """
    root.mkdir(parents=True, exist_ok=True)
    digest = file_digest(archive)
    unpacked, partial = root / digest, root / f"{digest}.partial"
    with FileLock(root / f"{digest}.lock"):
        if not unpacked.exists():
            _clear(partial)
            try:
                _unpack(archive, partial)
                _find_corpus(partial, archive)
                os.sync()  # once, where fsync would be called for each of ten thousand files
                partial.replace(unpacked)
            finally:
                _clear(partial)
    return _find_corpus(unpacked, archive)


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with _readable(archive), tarfile.open(archive, tarinfo=_StrictTarInfo) as tar:
        for member in _checked_members(tar, archive):
            if _is_needed(member):
                tar.extract(member, folder, filter="data")
        _check_end(tar)


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn what keeps an archive from being read into sentences."""
    try:
        yield
    except tarfile.FilterError as error:
        raise ArtifactError(f"{archive} is not unpacked: {error}. Make it anew from plain files.") from error
    except UNREADABLE as error:
        raise _no_whole_archive(archive, error) from error


def read_folder_of_archive(archive: Path, folder: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file right in a folder of a corpus archive, without unpacking anything.

    The corpus may lie in one top-level folder.  Raises `ArtifactError` as `unpack_corpus` does.
    """
    with _readable(archive), tarfile.open(archive, tarinfo=_StrictTarInfo) as tar:
        for member in _checked_members(tar, archive):
            parts = PurePosixPath(member.name).parts
            if parts[-2:-1] == (folder,) and len(parts) <= MOST_PARTS and (file := tar.extractfile(member)):
                yield parts[-1], file.read()


def _check_end(tar: tarfile.TarFile) -> None:
    """Read to the end of the compression, where its checksum is; tarfile stops at the tar's own end mark."""
    read_bytes = 0
    while tar.fileobj is not None and (chunk := tar.fileobj.read(READ_BYTES)):
        read_bytes += len(chunk)
        if read_bytes > MOST_TRAILING_BYTES:
            raise tarfile.ReadError("there is more behind its end mark than any tar program writes")


def _checked_members(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """Every member, after a check of its kind, its path and of how much there is so far."""
    total = 0
    for count, member in enumerate(tar, start=1):
        path = PurePosixPath(member.name)
        if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
            raise ArtifactError(
                f"{archive} is not unpacked: {member.name!r} is a link, a device or lies outside; "
                "a corpus archive holds plain files under plain paths."
            )
        if member.size < 0:
            raise tarfile.ReadError("a member has a negative size")
        total += member.size
        if count > MOST_MEMBERS or total > MOST_UNPACKED_BYTES:
            raise ArtifactError(
                f"{archive} is not unpacked: it holds more than {MOST_MEMBERS} files or "
                f"{MOST_UNPACKED_BYTES // 1024**3} GiB, which no corpus does."
            )
        yield member


def _is_needed(member: tarfile.TarInfo) -> bool:
    """Whether the path, with or without a top-level folder, is one of the files that serving reads."""
    parts = PurePosixPath(member.name).parts
    return member.isfile() and any(_names_corpus_file(tail) for tail in (parts, parts[1:]))


def _names_corpus_file(parts: tuple[str, ...]) -> bool:
    return (len(parts) == 1 and parts[0] in NEEDED_FILES) or (len(parts) == 2 and parts[0] == NEEDED_FOLDER)


def _find_corpus(unpacked: Path, archive: Path) -> Path:
    if (unpacked / NEEDED_FOLDER).is_dir():
        return unpacked
    candidates = [folder for folder in unpacked.iterdir() if (folder / NEEDED_FOLDER).is_dir()]
    if len(candidates) != 1:
        raise ArtifactError(
            f"{archive} holds no corpus: there should be one folder {NEEDED_FOLDER} beside revision and Modules.jsonl."
        )
    return candidates[0]


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits; raises `ArtifactError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _no_whole_archive(archive: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{archive} is no whole tar archive ({_first_line(error)}); fetch or make it again.")


def _first_line(error: Exception) -> str:
    """What tarfile says before it lists every compression that it tried."""
    lines = str(error).splitlines() or ["it ends too early"]
    return lines[0].rstrip(":")
