"""Finds the vectors that are known on this host: those of snapshots and of computed corpora in the data folder.

Looked for at the start and every few seconds after, so that what `premises embed`, `premises warm` or a new revision
brings is used by servers that run already.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from api.known_vectors import KnownTables, KnownVectors, map_last_rows
from api.preparation_record import file_stamps
from api.snapshot import DIGEST, INDEX_FILE, SnapshotManifest, check_files, snapshots_folder
from api.vector_folder import VectorFolder, vectors_root
from shared.embedding_cache import text_key

LOOK_SECONDS = 2.0

log = logging.getLogger("api")


@dataclass(frozen=True, slots=True)
class _Useless:
    """A damaged folder."""

    files: list[tuple[str, int, int, int]]
    """Its files when it was judged: looked at again once they are others."""
    why: str


@dataclass
class KnownFolders:
    """Keeps known vectors in step with a data folder."""

    data_dir: Path
    known: KnownTables
    _open: dict[Path, KnownVectors] = field(default_factory=dict)
    _useless: dict[Path, _Useless] = field(default_factory=dict)
    _given: list[KnownVectors] = field(default_factory=list)

    async def watch(self) -> None:
        """Keep in step until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Look once."""
        self._take(await asyncio.to_thread(self._look))

    def refresh_now(self) -> None:
        """The same where nobody else waits."""
        self._take(self._look())

    def _take(self, wanted: list[KnownVectors]) -> None:
        for known in self._given:
            if known not in wanted:
                self.known.remove(known)
        for known in wanted:
            if known not in self._given:
                self.known.add(known)
        self._given = wanted

    def _look(self) -> list[KnownVectors]:
        """What is there now; a corpus that lies in a snapshot, and in a folder of its own, once."""
        found = {}
        for folder, open_folder in _folders(self.data_dir):
            if folder not in self._open:
                self._try_to_open(folder, open_folder)
            if folder in self._open:
                found[folder] = self._open[folder]
        self._open = found
        self._useless = {folder: judged for folder, judged in self._useless.items() if folder.exists()}
        once: dict[tuple[str, str], KnownVectors] = {}
        for known in found.values():
            once.setdefault((known.namespace, known.digest), known)
        return list(once.values())

    def _try_to_open(self, folder: Path, open_folder: Callable[[Path], KnownVectors | None]) -> None:
        """What is unfinished is tried again; what is damaged is told once, and not used until its files change."""
        files, before = _stamps(folder), self._useless.get(folder)
        if before and before.files == files:
            return
        try:
            if known := open_folder(folder):
                self._open[folder] = known
            self._useless.pop(folder, None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one folder, the others serve
            self._useless[folder] = _Useless(files, str(error))
            if folder.exists() and (before is None or before.why != str(error)):  # it may be removed at any time
                log.warning("the vectors of %s are not used for new premises: %s", folder, error)


def known_texts(data_dir: Path, texts: Collection[str]) -> set[str]:
    """Which of these texts have a vector of some model in a data folder."""
    known = KnownTables()
    KnownFolders(data_dir, known).refresh_now()
    keys = known.keys_among([text_key(text) for text in texts])
    return {text for text in texts if text_key(text) in keys}


def known_of_snapshot(folder: Path) -> KnownVectors | None:
    """The vectors of a snapshot by their texts; None where nothing says which model made them."""
    manifest = SnapshotManifest.read(folder)
    check_files(folder, manifest)
    if manifest.namespace is None:
        return None
    vectors = map_last_rows(folder / INDEX_FILE, (manifest.rows, manifest.dimension))
    return KnownVectors.open(folder, vectors, namespace=manifest.namespace, digest=manifest.corpus_digest)


def known_of_vector_folder(folder: Path) -> KnownVectors | None:
    """Those of computed vectors."""
    return VectorFolder(folder).open_known()


def _folders(data_dir: Path) -> Iterator[tuple[Path, Callable[[Path], KnownVectors | None]]]:
    """Every folder that may hold vectors, and how it is opened; snapshots first, since they are in memory anyway."""
    for folder in _listed(snapshots_folder(data_dir)):
        if DIGEST.fullmatch(folder.name):
            yield folder, known_of_snapshot
    for folder in _listed(vectors_root(data_dir)):
        yield folder, known_of_vector_folder


def _stamps(folder: Path) -> list[tuple[str, int, int, int]]:
    """Of the files in a folder; none where they cannot be read, or go at this moment."""
    try:
        return file_stamps(folder.iterdir())
    except OSError:
        return []


def _listed(folder: Path) -> list[Path]:
    """Folders in a folder, by name; none where it does not exist or cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
