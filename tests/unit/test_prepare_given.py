"""Given embeddings are somebody else's file: one that changes while it is read is never served."""

from pathlib import Path

import numpy as np
import pytest

from api.commands import prepare
from api.snapshot_writer import write_snapshot
from shared.corpus import Corpus, read_corpus
from shared.demo import demo_corpus_path
from shared.errors import CorpusError
from shared.messages import Heartbeat
from shared.settings import Settings
from tests.corpora import unit_vectors

WORKER = Heartbeat(
    worker_id="w", model="m", namespace="n", dimension=8, max_tokens=64, device="cpu", dtype="float32",
    cache_dtype="float32", tokens_per_byte=0.4, tokens_per_second=1.0, held_jobs=[], started_at=0.0,
)  # fmt: skip


@pytest.mark.parametrize("changes", [False, True])
def test_embeddings_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, changes: bool
) -> None:
    corpus, path, settings = read_corpus(demo_corpus_path()), tmp_path / "given.npy", Settings(data_dir=tmp_path / "s")
    np.save(path, unit_vectors(len(corpus.premises), 8))

    def write_and_change(corpus: Corpus, vectors: np.ndarray, **options: object) -> Path:
        folder = write_snapshot(corpus, vectors, **options)  # type: ignore[arg-type]
        if changes:
            np.save(path, unit_vectors(len(corpus.premises), 8, seed=1))
        return folder

    monkeypatch.setattr(prepare, "write_snapshot", write_and_change)
    if not changes:
        assert prepare._make_snapshot_of_given(settings, path, corpus, WORKER).is_dir()
        return
    with pytest.raises(CorpusError, match="changed while they were read"):
        prepare._make_snapshot_of_given(settings, path, corpus, WORKER)
    assert not [entry for entry in (tmp_path / "s" / "snapshots").iterdir() if entry.is_dir()]
