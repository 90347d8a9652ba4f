"""Files that take the place of earlier ones at once: a reader, or a crash, meets the old one or the new one whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ArtifactError

UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another path to write to, which takes this one's place once it is on disk; it is removed where that fails.

    Raises what `regular_target` does.
    """
    target = regular_target(path)
    unfinished = target.with_name(f"{target.name}{UNFINISHED}")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(target)
        sync(target.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def regular_target(path: Path) -> Path:
    """What a path means, symbolic links followed; raises `ArtifactError` where that is there and no regular file."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ArtifactError(f"{path} is no regular file, so it is not written over: name another one.")
    return target


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
