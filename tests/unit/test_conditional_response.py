import gzip
from pathlib import Path

import pytest

from api.conditional_response import has_validator, prefers_gzip
from api.ready_answer import ReadyAnswer, write_ready_answer
from shared.errors import CorpusError


@pytest.mark.parametrize(
    "accepted",
    ["gzip", "GZIP", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "deflate, *;q=0.5",
     "identity;q=0.5, gzip;q=0.5", "identity;q=0, *", "gzip ; q = 0.001", "gzip;q=1.000", ",gzip,"],
)  # fmt: skip
def test_gzip_is_sent_where_it_is_accepted_and_nothing_is_preferred(accepted: str) -> None:
    assert prefers_gzip(accepted)


@pytest.mark.parametrize(
    "accepted",
    ["", "identity", "deflate, br", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "identity, gzip;q=0.5",
     "gzip;q=0.5, *;q=1", "not-gzip", "gzip;q=2", "gzip;q=-1", "gzip;q=0.1234", "gzip;level=9", "gzip;q="],
)  # fmt: skip
def test_plain_bytes_are_sent_where_gzip_is_not_accepted_or_not_preferred(accepted: str) -> None:
    assert not prefers_gzip(accepted)


@pytest.mark.parametrize("field", ['"a"', 'W/"a"', '"x", "a"', 'W/"x",W/"a"', "*", " * ", '"x,y", "a"'])
def test_a_validator_is_found_by_weak_comparison(field: str) -> None:
    assert has_validator(field, '"a"')


@pytest.mark.parametrize("field", ["", '"b"', "a", 'w/"a"', '"a', '"a-gzip"', '"*"', '"xa"'])
def test_another_validator_is_none_of_ours(field: str) -> None:
    assert not has_validator(field, '"a"')


def test_both_forms_of_an_answer_hold_the_same_content(tmp_path: Path) -> None:
    write_ready_answer(tmp_path / "names.json", b'["a"]')
    answer = ReadyAnswer.open(tmp_path / "names.json")
    assert bytes(answer.plain.content) == gzip.decompress(answer.gzipped.content) == b'["a"]'


def test_equal_contents_have_equal_validators_and_others_have_others(tmp_path: Path) -> None:
    contents = {"one": b'["a"]', "same": b'["a"]', "other": b'["b"]'}
    for name, content in contents.items():
        write_ready_answer(tmp_path / name, content)
    one, same, other = (ReadyAnswer.open(tmp_path / name) for name in contents)
    assert (one.plain.etag, one.gzipped.etag) == (same.plain.etag, same.gzipped.etag)
    assert len({one.plain.etag, one.gzipped.etag, other.plain.etag, other.gzipped.etag}) == 4


def test_a_missing_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_bytes(b"[]")
    with pytest.raises(CorpusError, match=r"names\.json\.gz"):
        ReadyAnswer.open(tmp_path / "names.json")
