from pathlib import Path

import numpy as np
import pytest

from api.lexical.features import FEATURES
from api.lexical.ranker import TRAINED, Ranker, load_uses
from shared.errors import CorpusError


def test_the_packaged_ranking_fits_the_features_of_this_program() -> None:
    scores = Ranker.load().score(np.zeros((3, len(FEATURES)), dtype=np.float32))
    assert scores.shape == (3,)
    assert np.all((scores > 0) & (scores < 1))


def test_a_layer_is_a_product_with_what_is_negative_cut_off() -> None:
    layers = (
        (np.array([[1.0, -1.0]], np.float32), np.zeros(2, np.float32)),
        (np.ones((2, 1), np.float32), np.ones(1, np.float32)),
    )
    ranker = Ranker(np.array([1.0], np.float32), np.array([2.0], np.float32), layers, (1.0, 0.0))
    assert ranker.outputs(np.array([[0.0], [3.0]], np.float32)).tolist() == [3.0, 5.0]


def test_calibration_turns_outputs_into_chances() -> None:
    layers = ((np.ones((1, 1), np.float32), np.zeros(1, np.float32)),)
    ranker = Ranker(np.zeros(1, np.float32), np.ones(1, np.float32), layers, (2.0, -2.0))
    assert ranker.score(np.array([[1.0]], np.float32)).tolist() == [0.5]


def test_a_ranking_of_other_features_is_refused(tmp_path: Path) -> None:
    for path in TRAINED.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b'"dense_rank"', b'"something"'))
    with pytest.raises(CorpusError, match="train it again"):
        Ranker.load(tmp_path)


def test_uses_are_counts_by_name() -> None:
    uses = load_uses()
    assert uses
    assert min(uses.values()) >= 1
