"""Answers of the embeddings API are written in parts; nobody who reads them sees that."""

import base64
import json

import numpy as np
import pytest

from api.embedding_schemas import ITEMS_OF_A_PART, openai_answer, parse_openai_request, tei_answer
from shared.embedding_cache import Vector


def vectors(count: int) -> Vector:
    return np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)


@pytest.mark.parametrize("count", [1, ITEMS_OF_A_PART, ITEMS_OF_A_PART + 1, 3 * ITEMS_OF_A_PART])
def test_parts_make_one_array(count: int) -> None:
    rows = vectors(count)
    request = parse_openai_request(b'{"model": "m", "input": "x", "encoding_format": null}')
    answer = json.loads(openai_answer(rows, request, 7))
    assert list(answer) == ["object", "data", "model", "usage"]
    assert [item["index"] for item in answer["data"]] == list(range(count))
    np.testing.assert_array_equal(np.array([item["embedding"] for item in answer["data"]], np.float32), rows)
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    np.testing.assert_array_equal(np.array(json.loads(tei_answer(rows)), np.float32), rows)


def test_base64_holds_little_endian_float32() -> None:
    rows = vectors(ITEMS_OF_A_PART + 2)
    request = parse_openai_request(b'{"model": "m", "input": ["x"], "encoding_format": "base64", "user": 5}')
    data = json.loads(openai_answer(rows, request, 1))["data"]
    found = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data]
    np.testing.assert_array_equal(np.stack(found), rows)
