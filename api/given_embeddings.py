"""Corpus embeddings that somebody else computed: a `.npy` with one row a premise, checked before it is served."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.mapped_file import map_npy
from api.vector_lengths import CHUNK_ROWS, unusable_rows
from shared.corpus import Corpus
from shared.corpus_files import parse_object, string_field
from shared.errors import CorpusError
from shared.messages import Heartbeat

Vectors = NDArray[np.float32]

SAID = ("corpus_digest", "revision", "namespace")
READABLE_TYPES = (np.dtype(np.float32), np.dtype(np.float16))

log = logging.getLogger("prepare")


@dataclass(frozen=True, slots=True)
class EmbeddingsOrigin:
    """What `<name>.json` beside `<name>.npy` says of it; None: nothing."""

    corpus_digest: str | None = None
    revision: str | None = None
    namespace: str | None = None


def check_embeddings(path: Path, *, corpus: Corpus, worker: Heartbeat) -> tuple[Vectors, str | None]:
    """The given embeddings of a corpus and the namespace they are said to be made in (None: nothing says so).

    Raises `CorpusError` where the file, or what is written beside it, does not fit the corpus or the worker's model.
    """
    origin = check_origin(path, corpus)
    _check_said(path, "model namespace", origin.namespace, worker.namespace)
    if origin.namespace is None:
        log.warning("nothing says which model made %s", path)
    return load_embeddings(path, rows=len(corpus.premises), dimension=worker.dimension), origin.namespace


def check_origin(path: Path, corpus: Corpus) -> EmbeddingsOrigin:
    """What is written beside an embeddings file; raises `CorpusError` where it speaks of another corpus."""
    origin = read_origin(path)
    _check_said(path, "corpus digest", origin.corpus_digest, corpus.digest)
    _check_said(path, "revision", origin.revision, corpus.revision)
    return origin


def load_embeddings(path: Path, *, rows: int, dimension: int | None) -> Vectors:
    """Vectors of shape (rows, dimension): float32 mapped as they lie, float16 converted.

    Raises `CorpusError` where shape or type do not fit, or a vector is not finite and of length 1.
    """
    array = _load_array(path)
    if array.ndim != 2 or array.dtype not in READABLE_TYPES:
        raise CorpusError(
            f"The embeddings {path} hold {array.dtype} of shape {array.shape}; "
            f"expected float32 or float16 of shape ({rows}, {dimension or 'dimension'})."
        )
    if len(array) != rows:
        raise CorpusError(
            f"The embeddings {path} have {len(array)} rows, the corpus has {rows} premises after its filters: "
            "give the file made for this revision, or unset EMBEDDINGS to compute them."
        )
    if dimension is not None and array.shape[1] != dimension:
        raise CorpusError(
            f"The embeddings {path} have {array.shape[1]} numbers a row, the model's vectors have {dimension}: "
            "give the file made with this model, or set MODEL_ID to the one that made it."
        )
    vectors = _as_float32(array)
    _check_lengths(path, vectors)
    return vectors


def read_origin(path: Path) -> EmbeddingsOrigin:
    """What is written beside an embeddings file; raises `CorpusError` where that cannot be read."""
    beside = path.with_suffix(".json")
    try:
        fields = parse_object(beside.read_bytes())
        said = {name: string_field(fields, name) for name in SAID if fields.get(name) is not None}
    except FileNotFoundError:
        return EmbeddingsOrigin()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{beside} cannot be read as a JSON object ({error}): mend or remove it.") from error
    return EmbeddingsOrigin(**said)


def _check_said(path: Path, what: str, found: str | None, expected: str) -> None:
    if found is not None and found != expected:
        raise CorpusError(
            f"{path.with_suffix('.json')} says that the embeddings have the {what} {found}, not {expected}: "
            "give the file made for this corpus and model, or unset EMBEDDINGS to compute them."
        )


def _load_array(path: Path) -> NDArray[np.generic]:
    try:
        return map_npy(path)
    except (OSError, ValueError) as error:
        raise CorpusError(f"The embeddings {path} are no whole .npy file ({error}): make or fetch it again.") from error


def _as_float32(array: NDArray[np.generic]) -> Vectors:
    """As it lies where that is float32 in C order, else a copy, converted in parts."""
    if array.dtype == np.float32 and array.flags.c_contiguous:
        return np.asarray(array, dtype=np.float32)
    vectors = np.empty(array.shape, dtype=np.float32)
    for start in range(0, len(array), CHUNK_ROWS):
        vectors[start : start + CHUNK_ROWS] = array[start : start + CHUNK_ROWS]
    return vectors


def _check_lengths(path: Path, vectors: Vectors) -> None:
    wrong = unusable_rows(vectors, normalized=True)
    if len(wrong):
        raise CorpusError(
            f"Row {wrong[0]} of the embeddings {path} has the length {np.linalg.norm(vectors[wrong[0]]):.4g}; "
            "expected finite vectors of length 1. Normalise them, or unset EMBEDDINGS to compute them."
        )
