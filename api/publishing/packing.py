"""Packs a corpus folder so that the same files give the same archive, wherever and whenever it is done."""

import gzip
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.corpus_files import (
    BLACKLIST_FILE,
    DECLARATIONS_FOLDER,
    IMPORTS_FOLDER,
    LINES_SUFFIX,
    MODULES_FILE,
    REVISION_FILE,
)

COMPRESSION = 6


def pack_corpus(folder: Path, archive: Path, advance: Callable[[], object]) -> None:
    """Write the corpus files of a folder, and nothing else of it, sorted by path and without times or owners.

    `advance` is called after each file.  The same version of zlib gives the same bytes.
    """
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=COMPRESSION, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in corpus_files(folder):
            member = tarfile.TarInfo(str(path.relative_to(folder)))  # owner 0, mode 0644, time 0
            member.size = path.stat().st_size
            with path.open("rb") as content:
                tar.addfile(member, content)
            advance()


def corpus_files(folder: Path) -> list[Path]:
    """The files that make up a corpus, sorted by path."""
    return sorted(_corpus_files(folder), key=lambda path: str(path.relative_to(folder)))


def _corpus_files(folder: Path) -> Iterator[Path]:
    yield from (path for name in (REVISION_FILE, MODULES_FILE, BLACKLIST_FILE) if (path := folder / name).is_file())
    for name in (DECLARATIONS_FOLDER, IMPORTS_FOLDER):
        if (inner := folder / name).is_dir():
            yield from (path for path in inner.iterdir() if path.is_file() and path.name.endswith(LINES_SUFFIX))
