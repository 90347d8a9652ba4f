"""Recognises given vectors of which nothing says who made them: a worker embeds some of the same texts and compares.

Published embeddings rarely say it.  Only vectors that are known to be of a model's namespace may be used again for
texts of uploads and of other corpora, so a few seconds of work here save the embedding of a whole corpus later.
"""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from api.embedding_client import Embedded, EmbeddingOrder, TextGroup
from shared.embedding_cache import Vector
from shared.errors import DeadlineExceededError, NotReadyError, OverloadedError, TextRejectedError
from shared.messages import Priority

COMPARED_ROWS = 64
COMPARISON_SECONDS = 60.0
COMPARED_CACHE_SECONDS = 600

MOST_DISTANCE = 1e-4
"""Distance of two vectors of length 1 that are one model's: other kernels and batches move them by some 1e-6, float16
by 3e-4, bfloat16 by 1e-2."""

log = logging.getLogger("prepare")


class Embeddings(Protocol):
    """The way to the workers of one model."""

    async def embed(self, groups: Sequence[TextGroup], order: EmbeddingOrder) -> Embedded:
        """As `EmbeddingClient` does it."""
        ...


async def are_of_this_model(vectors: Vector, texts: Sequence[str], embeddings: Embeddings) -> bool:
    """Whether the workers give the same vectors, shape (texts, dimension), for some of the texts.

    Says in the log what came of it; where the workers do not answer in time, nothing is known and the answer is no.
    """
    rows = compared_rows(len(texts))
    order = EmbeddingOrder(time.time() + COMPARISON_SECONDS, "corpus", COMPARED_CACHE_SECONDS)
    try:
        embedded = await embeddings.embed([TextGroup([texts[row] for row in rows], Priority.CORPUS)], order)
    except (NotReadyError, OverloadedError, DeadlineExceededError, TextRejectedError) as error:
        log.warning("whether the vectors are this model's could not be tried: %s", error)
        return False
    farthest = float(np.linalg.norm(embedded.vectors[0] - vectors[rows], axis=1).max())
    if farthest > MOST_DISTANCE:
        log.warning(
            "the worker's own vectors of %d of these texts are up to %.2g away from the given ones: "
            "they are of another model, or were computed in fewer bits",
            len(rows), farthest,
        )  # fmt: skip
        return False
    log.info("the worker gives the same vectors for %d of these texts: they are taken for this model's", len(rows))
    return True


def compared_rows(rows: int) -> NDArray[np.intp]:
    """Some rows all over a corpus, in order: all of them where there are few."""
    return np.unique(np.linspace(0, rows - 1, min(rows, COMPARED_ROWS)).astype(np.intp))
