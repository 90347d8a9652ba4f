"""What the last preparation made its snapshot of, so that an unchanged source is not read again.

The record is `<data folder>/prepared.json`, that of a corpus at a prefix `prepared/<prefix>.json`. It only ever saves
work: where anything is different, unreadable or absent, everything is done anew.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import orjson

import api
import shared
from api.file_replacement import replacing
from api.snapshot import SnapshotManifest, check_files, snapshots_folder
from shared.errors import CorpusError
from shared.messages import Heartbeat
from shared.settings import Settings

RECORD_FILE = "prepared.json"
DECLARATIONS = "Declarations"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationRecord:
    """A finished preparation."""

    source: str
    """See `source_digest`."""
    namespace: str
    """Of the worker that the vectors were made by, or checked with."""
    dimension: int
    snapshot: str
    """Name of the snapshot's folder."""

    @classmethod
    def read(cls, data_dir: Path, prefix: str = "") -> Self | None:
        """The record of a prefix in a data folder, None where there is none that this program wrote."""
        try:
            return cls(**orjson.loads(record_path(data_dir, prefix).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, data_dir: Path, prefix: str = "") -> None:
        """Keep the record for the next preparation."""
        path = record_path(data_dir, prefix)
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_bytes(orjson.dumps(self))

    def find_snapshot(self, data_dir: Path) -> Path | None:
        """The snapshot's folder, None where it is gone, damaged or of another format."""
        folder = snapshots_folder(data_dir) / self.snapshot
        try:
            check_files(folder, SnapshotManifest.read(folder))
        except CorpusError:
            return None
        return folder

    def fits(self, worker: Heartbeat) -> bool:
        """Whether the worker embeds as the one of that preparation did."""
        return (worker.namespace, worker.dimension) == (self.namespace, self.dimension)


def record_path(data_dir: Path, prefix: str = "") -> Path:
    """Where the record of a prefix lies; without one the default corpus's."""
    return data_dir / "prepared" / f"{prefix}.json" if prefix else data_dir / RECORD_FILE


def source_digest(settings: Settings, corpus: Path, embeddings: Path | None) -> str | None:
    """Digest of all that decides a snapshot, save the worker; None where a file cannot be looked at.

    Files count by path, size and times, not by content. Those of a corpus folder are the ones in it and in its
    Declarations. This program's own files count too: another version may read the same corpus otherwise.
    """
    beside = [embeddings, embeddings.with_suffix(".json")] if embeddings else []
    try:
        files = [
            *_list_corpus(corpus),
            *file_stamps(path for path in beside if path.exists()),
            *file_stamps(_program_files()),
        ]
    except OSError:
        return None
    relevant = [version("lean-premise-server"), settings.model_id, settings.corpus_on_broken_line, str(embeddings)]
    return hashlib.sha256(orjson.dumps([relevant, str(corpus.absolute()), files])).hexdigest()


def _list_corpus(corpus: Path) -> list[tuple[str, int, int, int]]:
    if corpus.is_file():
        return file_stamps([corpus])
    return file_stamps([*corpus.iterdir(), *(corpus / DECLARATIONS).iterdir()])


def _program_files() -> Iterable[Path]:
    return (path for package in (api, shared) for root in package.__path__ for path in Path(root).rglob("*.py"))


def file_stamps(paths: Iterable[Path]) -> list[tuple[str, int, int, int]]:
    """Path, size, and times of the last change of the content and of anything else, in nanoseconds; sorted."""
    found = [(str(path.absolute()), path.stat()) for path in paths]
    return sorted((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in found)
