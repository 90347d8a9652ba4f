"""Folders of computed vectors: `<data folder>/embeddings/<name>/`, one for each set of texts and namespace.

`vectors.npy` (float32, a row a text) and `vectors.json` (what it is of) together are what EMBEDDINGS takes; the text
keys beside them let every process of the deployment find the vector of any of these texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from api.file_replacement import replacing
from api.given_embeddings import EmbeddingsOrigin, read_origin
from api.known_vectors import KnownVectors
from api.mapped_file import map_npy
from api.text_keys import KEYS_FILE, TextKeys
from api.vector_lengths import unusable_rows
from shared.embedding_cache import Vector
from shared.errors import CorpusError

VECTORS_FILE = "vectors.npy"
ORIGIN_FILE = "vectors.json"


def vectors_root(data_dir: Path) -> Path:
    """Where the folders of computed vectors of a data folder lie."""
    return data_dir / "embeddings"


@dataclass(frozen=True, slots=True)
class VectorFolder:
    """One of them."""

    path: Path

    @classmethod
    def of_corpus(cls, data_dir: Path, digest: str, namespace: str) -> "VectorFolder":
        """That of a corpus with this digest."""
        return cls(vectors_root(data_dir) / f"{digest[:16]}-{namespace}")

    @classmethod
    def of_spellings(cls, data_dir: Path, digest: str, namespace: str) -> "VectorFolder":
        """That of texts as clients spell them."""
        return cls(vectors_root(data_dir) / f"spellings-{digest[:16]}-{namespace}")

    @property
    def vectors(self) -> Path:
        """The file of a finished computation."""
        return self.path / VECTORS_FILE

    def load(self, shape: tuple[int, int], *, normalized: bool) -> Vector:
        """The finished vectors, mapped; raises `CorpusError` where the file is damaged or another shape's.

        `normalized`: the model's vectors have length 1.
        """
        path, vectors = self.vectors, _map_vectors(self.vectors)
        if vectors.shape != shape:
            raise CorpusError(f"{path} has the shape {vectors.shape}: remove it, it will be computed again.")
        if len(unusable := unusable_rows(vectors, normalized=normalized)):
            raise CorpusError(
                f"{path} has {len(unusable)} rows that are no vectors, row {unusable[0]} first: "
                "remove it, it will be computed again."
            )
        return vectors

    @property
    def described(self) -> bool:
        """Whether other processes find its vectors."""
        return (self.path / KEYS_FILE).exists() and (self.path / ORIGIN_FILE).exists()

    def describe(self, texts: Sequence[str], origin: EmbeddingsOrigin) -> None:
        """Say what the finished vectors are of; the texts are those of the rows, in order."""
        if not self._is_whole():
            write_origin(self.vectors, origin)
            TextKeys.of(texts).write(self.path)

    def _is_whole(self) -> bool:
        """Whether other processes can use it."""
        try:
            return self.open_known() is not None
        except CorpusError:
            return False

    def open_known(self) -> KnownVectors | None:
        """Its vectors by text; None where the computation has not finished, or an earlier version made it."""
        if not self.described or not self.vectors.exists():
            return None
        origin = read_origin(self.vectors)
        if origin.namespace is None or origin.corpus_digest is None:
            return None
        vectors = _map_vectors(self.vectors)
        return KnownVectors.open(self.path, vectors, namespace=origin.namespace, digest=origin.corpus_digest)


def write_origin(vectors: Path, origin: EmbeddingsOrigin) -> None:
    """Write what is known of an embeddings file beside it."""
    with replacing(vectors.with_suffix(".json")) as unfinished:
        unfinished.write_bytes(orjson.dumps(origin, option=orjson.OPT_INDENT_2))


def _map_vectors(path: Path) -> Vector:
    try:
        array: Vector = map_npy(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is damaged ({error}): remove it, it will be computed again.") from error
    if array.ndim != 2 or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise CorpusError(f"{path} holds no float32 vectors: remove it, they will be computed again.")
    return array
