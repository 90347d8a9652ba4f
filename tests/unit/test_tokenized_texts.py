"""Texts and token ids on their way to the model: who is at fault fails alone, and whole lengths are remembered."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from shared.embedding_cache import CachedVector, input_key, text_key, token_ids_key
from shared.messages import FailedText
from tests.embedding_fakes import FakeEncoder, fake_vector
from tests.model_folders import SHAPES, write_model_folder
from worker.encoder import Encoder
from worker.tokenized_texts import TokenizedTexts, tokenize_inputs

LONG = "theorem Nat.add_comm (a b : Nat) : Eq (HAdd.hAdd a b) " * 40


def tokenized(*inputs: str | list[int]) -> TokenizedTexts:
    return tokenize_inputs({input_key(given): given for given in inputs}, FakeEncoder())


def result(token_ids: list[int]) -> CachedVector:
    return CachedVector(fake_vector(np.array(token_ids, np.int32)), len(token_ids))


def test_token_ids_go_to_the_model_as_they_stand() -> None:
    token_ids = tokenized([3, 1, 2], "ab").token_ids
    assert token_ids[token_ids_key([3, 1, 2])].tolist() == [3, 1, 2]
    assert token_ids[text_key("ab")].tolist() == [97, 98]


@pytest.mark.parametrize("foreign", [[1, 256], [-1], [2**31 - 1]])
def test_ids_beyond_the_vocabulary_fail_alone(foreign: list[int]) -> None:
    found = tokenized(foreign, [255], "text")
    [failed] = found.failed
    assert (failed.key, failed.kind) == (token_ids_key(foreign), "foreign_ids")
    assert found.token_ids.keys() == {token_ids_key([255]), text_key("text")}


def test_a_text_that_the_tokenizer_fails_on_fails_alone() -> None:
    found = tokenized("good", "untokenizable", [1])
    assert [(failed.key, failed.kind) for failed in found.failed] == [(text_key("untokenizable"), "tokenizer_error")]
    assert found.token_ids.keys() == {text_key("good"), token_ids_key([1])}


def test_the_cache_gets_the_length_of_the_whole_text() -> None:
    long, ids = "x" * 700, [7] * 600
    found = tokenized(long, ids, "short")
    results = {key: result(list(token_ids)) for key, token_ids in found.token_ids.items()}
    assert {key: entry.tokens for key, entry in found.with_full_lengths(results).items()} == {
        text_key(long): 700,
        token_ids_key(ids): 600,
        text_key("short"): 5,
    }
    assert {len(token_ids) for token_ids in found.token_ids.values()} == {512, 5}


def test_failures_of_the_model_are_no_vectors() -> None:
    found = tokenized("a")
    assert found.with_full_lengths({text_key("a"): FailedText(text_key("a"), "model_error", "no")}) == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_length_before_truncation_is_that_of_a_tokenizer_without_it(shape: str, tmp_path: Path) -> None:
    encoder = Encoder.load(
        write_model_folder(tmp_path / shape, shape), dtype="float32", device="cpu", cache_dtype="float32"
    )
    whole = Tokenizer.from_str(encoder.tokenizer.to_str())
    whole.no_truncation()
    texts = [LONG, LONG[: len(LONG) // 3], "short", ""]
    token_ids, lengths = encoder.tokenize_and_count(texts)
    assert lengths == [len(whole.encode(text).ids) for text in texts]
    assert [len(ids) for ids in token_ids] == [min(48, length) for length in lengths]
    assert lengths[0] > 200
