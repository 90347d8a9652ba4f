"""Which snapshot is served at each URL prefix, on this host: `snapshots/corpora/<prefix>.json`.

A pointer names the source that its snapshot was made of and when that was wanted, so that one left by an earlier corpus
at the same prefix is not taken for it, also where that was read from the same files.  `snapshots/current`, the default
corpus's, is no pointer of this kind.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from api.file_replacement import replacing
from api.preparation_record import PreparationRecord, record_path
from api.snapshot import DIGEST, current_snapshot, snapshots_folder
from shared.corpus_source import CorpusSource
from shared.wanted_corpora import WantedCorpus


@dataclass(frozen=True, slots=True)
class CorpusPointer:
    """A prepared corpus."""

    source: CorpusSource
    added_at: float
    """Of the wanted corpus, epoch seconds."""
    snapshot: str
    """Name of the snapshot's folder."""

    @classmethod
    def read(cls, data_dir: Path, prefix: str) -> Self | None:
        """The pointer of a prefix, None where there is none that this program wrote."""
        try:
            fields = orjson.loads(_path(data_dir, prefix).read_bytes())
            source = CorpusSource.model_validate(fields["source"])
            return cls(source, float(fields["added_at"]), str(fields["snapshot"]))
        except (OSError, ValueError, TypeError, LookupError):
            return None

    def write(self, data_dir: Path, prefix: str) -> None:
        """Have replicas map this snapshot at a prefix."""
        path = _path(data_dir, prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = {"source": self.source.model_dump(), "added_at": self.added_at, "snapshot": self.snapshot}
        with replacing(path) as unfinished:
            unfinished.write_bytes(orjson.dumps(fields))


def find_prepared(data_dir: Path, wanted: WantedCorpus) -> Path | None:
    """The snapshot that was prepared of a wanted corpus, or None while there is none."""
    pointer = CorpusPointer.read(data_dir, wanted.prefix)
    if pointer is None or (pointer.source, pointer.added_at) != (wanted.source, wanted.added_at):
        return None
    if not DIGEST.fullmatch(pointer.snapshot):
        return None
    folder = snapshots_folder(data_dir) / pointer.snapshot
    return folder if folder.is_dir() else None


def pointed_prefixes(data_dir: Path) -> list[str]:
    """Prefixes that something was prepared for."""
    return sorted(path.stem for path in _folder(data_dir).glob("*.json"))


def forget_prefix(data_dir: Path, prefix: str) -> None:
    """Let no replica map anything at a prefix any more."""
    _path(data_dir, prefix).unlink(missing_ok=True)
    record_path(data_dir, prefix).unlink(missing_ok=True)


def snapshots_in_use(data_dir: Path) -> set[Path]:
    """What must not be pruned: the snapshots of all prefixes, and the default corpus's.

    The latter also while no replica may start with it (`withdraw_snapshot`), since its preparation will use it again.
    """
    record = PreparationRecord.read(data_dir)
    pointers = [CorpusPointer.read(data_dir, prefix) for prefix in pointed_prefixes(data_dir)]
    names = [named.snapshot for named in (record, *pointers) if named]
    current = current_snapshot(data_dir)
    return {snapshots_folder(data_dir) / name for name in names} | ({current} if current else set())


def unused_snapshots(data_dir: Path) -> list[Path]:
    """Snapshots that no prefix names, and the default corpus neither; some replica may still map them."""
    in_use = snapshots_in_use(data_dir)
    folders = [path for path in snapshots_folder(data_dir).glob("*") if DIGEST.fullmatch(path.name)]
    return [path for path in folders if path not in in_use]


def changed_corpus(prefix: str, found: str, expected: str) -> str:
    """A sentence for a source that no longer holds the corpus that was prepared of it first."""
    return (
        f"The corpus for the prefix {prefix!r} has the digest {found[:12]} now and had {expected[:12]} when it was "
        "first prepared; clients hold positions in that one. Bring its files back, or add this one at another prefix."
    )


def _folder(data_dir: Path) -> Path:
    return snapshots_folder(data_dir) / "corpora"


def _path(data_dir: Path, prefix: str) -> Path:
    return _folder(data_dir) / f"{prefix}.json"
