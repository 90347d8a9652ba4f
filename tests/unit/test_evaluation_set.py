"""Evaluation sets are read whole or refused with the line at fault."""

import gzip
from pathlib import Path

import orjson
import pytest

from api.evaluation.evaluation_set import EvaluationSet
from shared.errors import EvaluationError
from tests.corpora import as_lines


def item(**fields: object) -> dict[str, object]:
    usual: dict[str, object] = {"decl_name": "A.t", "module": "A", "line": 3, "state": "⊢ True", "relevant": ["A.s"]}
    return usual | fields


def write(path: Path, *items: dict[str, object]) -> Path:
    path.write_bytes(as_lines(items))
    return path


def fault(path: Path) -> str:
    with pytest.raises(EvaluationError) as caught:
        EvaluationSet.read(path)
    return str(caught.value)


def test_queries_are_read_with_their_lines_and_further_fields_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "eval.jsonl", item(proof_kind="tactic"), item(decl_name="A.u", relevant=["A.s", "A.t"]))
    first, second = EvaluationSet.read(path).queries
    assert (first.decl_name, first.module, first.line, first.state, first.number) == ("A.t", "A", 3, "⊢ True", 1)
    assert (second.decl_name, second.relevant, second.number) == ("A.u", frozenset({"A.s", "A.t"}), 2)


def test_a_gzipped_set_is_the_same_set(tmp_path: Path) -> None:
    plain = write(tmp_path / "eval.jsonl", item())
    packed = tmp_path / "eval.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert EvaluationSet.read(packed).digest == EvaluationSet.read(plain).digest
    assert EvaluationSet.read(packed).queries == EvaluationSet.read(plain).queries


@pytest.mark.parametrize("field", ["decl_name", "module", "line", "state", "relevant"])
def test_a_missing_field_is_told_with_its_line(tmp_path: Path, field: str) -> None:
    broken = {name: value for name, value in item(decl_name="A.u").items() if name != field}
    said = fault(write(tmp_path / "eval.jsonl", item(), broken))
    assert "eval.jsonl, line 2: " in said
    assert f"'{field}'" in said


@pytest.mark.parametrize(("field", "value"), [("line", "3"), ("line", -1), ("relevant", "A.s"), ("state", None)])
def test_a_field_of_another_type_is_told_with_its_line(tmp_path: Path, field: str, value: object) -> None:
    said = fault(write(tmp_path / "eval.jsonl", item(**{field: value})))
    assert said.startswith(f"{tmp_path}/eval.jsonl, line 1: field '{field}")


def test_what_is_no_json_object_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_bytes(orjson.dumps(item()) + b"\n\n{oops\n")
    assert "line 3: not valid JSON" in fault(path)
    path.write_text("[]\n")
    assert "line 1: " in fault(path)


def test_a_query_that_is_there_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    said = fault(write(tmp_path / "eval.jsonl", item(), item(line=9), item()))
    assert "line 3" in said
    assert "line 1" in said


def test_empty_missing_and_cut_files_are_told(tmp_path: Path) -> None:
    assert "has no queries" in fault(write(tmp_path / "empty.jsonl"))
    assert "cannot be read" in fault(tmp_path / "missing.jsonl")
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(as_lines([item(), item(line=5)]))[:-9])
    assert "no whole gzip file" in fault(cut)


def test_the_key_of_a_query_changes_with_what_is_asked_and_with_nothing_else(tmp_path: Path) -> None:
    items = [item(relevant=["A.r", "A.s"]), item(), item(state="⊢ False"), item(line=4)]
    keys = [query.key for query in EvaluationSet.read(write(tmp_path / "eval.jsonl", *items)).queries]
    assert len(set(keys)) == 4
    again = write(tmp_path / "again.jsonl", item(line=8), item(relevant=["A.s", "A.r"]))
    assert EvaluationSet.read(again).queries[1].key == keys[0]
