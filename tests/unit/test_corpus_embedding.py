"""Rows of a corpus on disk: what an interruption leaves is gone on with, and no row of zeros ever counts as done."""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from api.corpus_embedding import (
    ROWS_OF_A_JOB,
    WINDOW_JOBS,
    PartialEmbeddings,
    embed_corpus,
)
from api.embedding_client import Embedded, EmbeddingClient, EmbeddingOrder, TextGroup
from api.vector_lengths import unusable_rows
from shared.embedding_cache import Vector
from shared.errors import CorpusError, OverloadedError
from tests.corpora import unit_vectors
from tests.embedding_fakes import DIMENSION as FAKE_DIMENSION
from tests.embedding_fakes import FakeEncoder, fake_vector

ROWS, DIMENSION = 10, 4
BLOCK = 512
"""Bytes: the unit of `st_blocks`."""


def opened(folder: Path) -> PartialEmbeddings:
    return PartialEmbeddings.open(folder, ROWS, DIMENSION)


def filled(folder: Path, rows: list[int]) -> PartialEmbeddings:
    partial = opened(folder)
    partial.vectors[rows] = unit_vectors(len(rows), DIMENSION)
    partial.flush(rows)
    return partial


def test_what_was_flushed_is_not_embedded_again(tmp_path: Path) -> None:
    filled(tmp_path, [1, 3])
    assert opened(tmp_path).missing_rows().tolist() == [0, 2, 4, 5, 6, 7, 8, 9]


def test_the_room_of_all_rows_is_taken_before_any_is_written(tmp_path: Path) -> None:
    partial = PartialEmbeddings.open(tmp_path, 1000, 384)
    assert (tmp_path / "partial.npy").stat().st_blocks * BLOCK >= partial.vectors.nbytes


def test_a_disk_without_room_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _start: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(CorpusError, match=r"partial\.npy needs .* bytes \(No space left on device\)"):
        opened(tmp_path)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("damage", [Path.unlink, cut_short])
@pytest.mark.parametrize("file", ["partial.npy", "done.npy"])
def test_marks_and_vectors_count_only_together(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    filled(tmp_path, [1, 3])
    damage(tmp_path / file)
    assert len(opened(tmp_path).missing_rows()) == ROWS


def test_vectors_of_another_dimension_are_not_gone_on_with(tmp_path: Path) -> None:
    filled(tmp_path, [1, 3])
    other = PartialEmbeddings.open(tmp_path, ROWS, DIMENSION + 1)
    assert other.vectors.shape == (ROWS, DIMENSION + 1)
    assert len(other.missing_rows()) == ROWS


def test_a_marked_row_of_zeros_is_embedded(tmp_path: Path) -> None:
    filled(tmp_path, list(range(ROWS))).vectors[7] = 0
    assert opened(tmp_path).missing_rows().tolist() == [7]


def test_a_file_with_a_missing_row_is_never_called_complete(tmp_path: Path) -> None:
    partial = filled(tmp_path, list(range(ROWS)))
    partial.vectors[7] = 0
    with pytest.raises(CorpusError, match="premise 7"):
        partial.finish()
    assert not (tmp_path / "vectors.npy").exists()
    partial.vectors[7] = unit_vectors(1, DIMENSION)
    assert np.load(partial.finish()).shape == (ROWS, DIMENSION)


@dataclass
class FakeClient:
    """Embeds at once; every third order is refused."""

    orders: list[int] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def embed(self, groups: Sequence[TextGroup], order: EmbeddingOrder) -> Embedded:
        [group] = groups
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.orders.append(len(group.texts))
        await asyncio.sleep(0)
        self.running -= 1
        if len(self.orders) % 3 == 0:
            raise OverloadedError("full", 1)
        return Embedded([np.stack([vector_of(str(text)) for text in group.texts])], [set()], 0, len(group.texts), 1)


def vector_of(text: str) -> Vector:
    [token_ids] = FakeEncoder().tokenize([text])
    return fake_vector(token_ids)


@pytest.mark.parametrize("chunks", [1, WINDOW_JOBS - 1, WINDOW_JOBS, WINDOW_JOBS + 1, 3 * WINDOW_JOBS + 1])
def test_every_row_gets_the_vector_of_its_text_however_many_jobs_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setattr("api.corpus_embedding.PAUSE_SECONDS", 0.0)
    texts = [f"{'x' * (row % 50)} {row}" for row in range(chunks * ROWS_OF_A_JOB - 3)]
    partial = PartialEmbeddings.open(tmp_path, len(texts), FAKE_DIMENSION)
    client, finished = FakeClient(), list[Embedded]()
    missing = partial.missing_rows()
    asyncio.run(embed_corpus(texts, missing, partial, cast("EmbeddingClient", client), finished.append))
    assert sum(embedded.embedded_texts for embedded in finished) == len(texts)
    assert client.most_running <= WINDOW_JOBS
    np.testing.assert_array_equal(np.load(partial.finish()), [vector_of(text) for text in texts])


def test_rows_that_are_no_vectors_are_found_wherever_they_lie() -> None:
    vectors = unit_vectors(40_000, DIMENSION)
    vectors[[0, 16_384, 39_999]] = 0
    vectors[5, 2] = np.nan
    vectors[6, 1] = np.inf
    assert unusable_rows(vectors).tolist() == [0, 5, 6, 16_384, 39_999]
