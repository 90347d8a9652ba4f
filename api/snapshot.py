"""A prepared corpus as API replicas use it: arrays, names and index, memory-mapped from one immutable folder.

The folder is `<data folder>/snapshots/<digest>`; `snapshots/current` names the one to serve.  A reader holds a shared
lock on `<digest>.lock` for as long as it maps the folder, or is about to, and such a folder is never removed.
"""

import fcntl
import os
import re
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from api.lexical.term_files import LEXICAL_FILES
from api.mapped_file import map_array
from api.name_table import NameTable, Rows
from api.ready_answer import ReadyAnswer
from api.statement_table import TEXT_FILE as STATEMENTS_FILE
from api.statement_table import Statement, StatementTable
from shared.errors import CorpusError, NotReadyError

Scalar = TypeVar("Scalar", bound=np.generic)

FORMAT_VERSION = 5
"""Part of a snapshot's digest: one more whenever the same corpus and vectors are to be written in another way."""

MANIFEST_FILE = "manifest.json"
INDEX_FILE = "vectors.faiss"
INDEXED_PREMISES_FILE = "indexed-premises.json"
INDEXED_MODULES_FILE = "indexed-modules.json"
MODULE_OF_ROW_FILE = "module-of-row.npy"
ROW_OF_UNFILTERED_FILE = "row-of-unfiltered.npy"
IS_THEOREM_FILE = "is-theorem.npy"
IN_MODULE_SYSTEM_FILE = "in-module-system.npy"
IS_EXPOSED_FILE = "is-exposed.npy"

READ_WHEN_NEEDED = frozenset({INDEX_FILE, STATEMENTS_FILE, *LEXICAL_FILES})
"""Large files of which a request reads little, or nothing: it need not wait until all of them is in memory."""

DIGEST = re.compile(r"[0-9a-f]{64}")
READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotManifest:
    """What a snapshot is of."""

    format_version: int
    digest: str
    """Of corpus, vectors, model and namespace: the folder's name."""
    corpus_digest: str
    """Of the corpus alone: replicas with equal ones understand the same positions."""
    revision: str
    rows: int
    dimension: int
    unfiltered_rows: int
    modules: int
    model: str
    namespace: str | None
    """Namespace that the vectors were made in; None where nothing says so."""
    files: dict[str, int]
    """Size in bytes of every other file."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a snapshot's manifest; raises `CorpusError` where it is damaged or of another format."""
        try:
            fields = orjson.loads((folder / MANIFEST_FILE).read_bytes())
            if fields["format_version"] != FORMAT_VERSION:
                raise CorpusError(
                    f"The snapshot {folder} has format {fields['format_version']}, this server reads {FORMAT_VERSION}: "
                    "prepare the corpus again (`premises prepare`)."
                )
            return cls(**fields)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(folder, MANIFEST_FILE) from error


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A mapped corpus; a row is a premise that survived the filters."""

    folder: Path
    manifest: SnapshotManifest
    modules: list[str]
    """Sorted; positions in it are what clients send."""
    module_of_row: NDArray[np.int32]
    """Position of each row's module in `modules`, shape (rows,)."""
    is_theorem: NDArray[np.bool_]
    in_module_system: NDArray[np.bool_]
    is_exposed: NDArray[np.bool_]
    row_of_unfiltered: NDArray[np.int32]
    """Row of each entry of `/indexed-premises` by its name, -1 where no premise of that name survived."""
    indexed_premises: ReadyAnswer
    """What `/indexed-premises` answers."""
    indexed_modules: ReadyAnswer
    """What `/indexed-modules` answers."""
    name_table: NameTable
    statement_table: StatementTable
    module_positions: dict[str, int]

    @property
    def index_path(self) -> Path:
        """The index of the vectors, for `faiss.read_index` with `IO_FLAG_MMAP_IFC`."""
        return self.folder / INDEX_FILE

    def name(self, row: int) -> str:
        """Name of one row."""
        return self.names(np.array([row]))[0]

    def names(self, rows: Rows) -> list[str]:
        """Names of rows, in their order."""
        return self.name_table.names(rows)

    def find_rows(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Rows of names, -1 where unknown, shape (len(names),)."""
        return self.name_table.find_rows(names)

    def statements(self, rows: Rows) -> list[Statement]:
        """Statements of rows, in their order."""
        return self.statement_table.statements(rows)

    def find_module(self, name: str) -> int:
        """Position in `modules` of a name like `A.B`, -1 where unknown."""
        return self.module_positions.get(name, -1)

    def touch(self) -> None:
        """Read every file but the largest once, so that the first request does not wait for the disk."""
        for name in self.manifest.files:
            if name not in READ_WHEN_NEEDED:
                _read(self.folder / name)

    def touch_vectors(self) -> None:
        """Read the vectors once; a search reads few of them, so that nobody need wait for it."""
        _read(self.index_path)


def open_snapshot(folder: Path) -> Snapshot:
    """Map a snapshot.

    Raises `NotReadyError` where it has just been replaced by a newer one, `CorpusError` where it is damaged or of
    another format.
    """
    lock = _hold(folder)
    if not folder.is_dir():
        os.close(lock)
        raise NotReadyError(f"The snapshot {folder} has been replaced by a newer one: try again in a moment.")
    try:
        snapshot = _map(folder)
    except BaseException:
        os.close(lock)
        raise
    weakref.finalize(snapshot, os.close, lock)
    return snapshot


@contextmanager
def snapshot_held(folder: Path) -> Iterator[None]:
    """Nobody removes a snapshot for the length of a block; raises `NotReadyError` where its lock cannot be taken."""
    lock = _hold(folder)
    try:
        yield
    finally:
        os.close(lock)


def current_snapshot(data_dir: Path) -> Path | None:
    """The snapshot to serve, or None while there is none."""
    snapshots = snapshots_folder(data_dir)
    try:
        digest = (snapshots / "current").read_text().strip()
    except FileNotFoundError:
        return None
    folder = snapshots / digest
    return folder if DIGEST.fullmatch(digest) and folder.is_dir() else None


def withdraw_snapshot(data_dir: Path) -> None:
    """Let no replica start with an earlier corpus while the one asked for is still being prepared."""
    (snapshots_folder(data_dir) / "current").unlink(missing_ok=True)


def snapshots_folder(data_dir: Path) -> Path:
    """Where the snapshots of a data folder lie."""
    return data_dir / "snapshots"


def lock_path(folder: Path) -> Path:
    """The lock file of a snapshot, beside its folder."""
    return folder.with_name(f"{folder.name}.lock")


def check_files(folder: Path, manifest: SnapshotManifest) -> None:
    """Raise `CorpusError` where a file of a snapshot is missing or of another size than its manifest says."""
    for name, size in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise _damaged(folder, name)


def _hold(folder: Path) -> int:
    """A shared lock, as the number of an open file; the lock ends when that is closed."""
    path = lock_path(folder)
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_SH)
    except OSError as error:
        raise NotReadyError(
            f"The snapshot's lock {path} cannot be taken ({error.strerror}): prepare the corpus (`premises prepare`)."
        ) from error
    return lock


def _map(folder: Path) -> Snapshot:
    manifest = SnapshotManifest.read(folder)
    check_files(folder, manifest)
    indexed_modules = ReadyAnswer.open(folder / INDEXED_MODULES_FILE)
    modules = orjson.loads(indexed_modules.plain.content)
    return Snapshot(
        folder=folder,
        manifest=manifest,
        modules=modules,
        module_of_row=_map_rows(folder, MODULE_OF_ROW_FILE, np.int32, manifest.rows),
        is_theorem=_map_rows(folder, IS_THEOREM_FILE, np.bool_, manifest.rows),
        in_module_system=_map_rows(folder, IN_MODULE_SYSTEM_FILE, np.bool_, manifest.rows),
        is_exposed=_map_rows(folder, IS_EXPOSED_FILE, np.bool_, manifest.rows),
        row_of_unfiltered=_map_rows(folder, ROW_OF_UNFILTERED_FILE, np.int32, manifest.unfiltered_rows),
        indexed_premises=ReadyAnswer.open(folder / INDEXED_PREMISES_FILE),
        indexed_modules=indexed_modules,
        name_table=NameTable.open(folder),
        statement_table=_map_statements(folder, manifest.rows),
        module_positions={name: position for position, name in enumerate(modules)},
    )


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(READ_BYTES):
            pass


def _map_rows(folder: Path, name: str, dtype: type[Scalar], length: int) -> NDArray[Scalar]:
    array = map_array(folder / name, dtype)
    if len(array) != length:
        raise _damaged(folder, name)
    return array


def _map_statements(folder: Path, rows: int) -> StatementTable:
    table = StatementTable.open(folder)
    if len(table) != rows:
        raise _damaged(folder, STATEMENTS_FILE)
    return table


def _damaged(folder: Path, name: str) -> CorpusError:
    return CorpusError(
        f"The snapshot {folder} is damaged ({name}): remove that folder and prepare the corpus again "
        "(`premises prepare`)."
    )
