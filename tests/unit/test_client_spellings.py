"""How clients spell what a corpus holds: only what follows from the extraction, and as Lean really sent it."""

import gzip
from pathlib import Path

import orjson
import pytest

from api.client_spellings import digest_of_texts, read_spellings, spellings_of
from shared.corpus import read_corpus
from tests.corpora import declaration, write_corpus
from tests.golden import require_shared_data


def test_single_spaces_stand_where_there_are_no_binders() -> None:
    assert spellings_of(declaration("A.t")) == ["theorem A.t : True"]


def test_a_comment_is_written_without_one_space_at_its_end_and_left_out_too() -> None:
    line = declaration("A.t", kind="def", args=["{n : Nat}", "(m : Nat)"], doc="Two lines,\nwith spaces.  ")
    signature = "def A.t {n : Nat} (m : Nat) : True"
    assert spellings_of(line) == [f"/-- Two lines,\nwith spaces.  -/\n{signature}", signature]


@pytest.mark.parametrize("kind", ["theorem", "opaque", "def", "instance"])
def test_what_the_module_system_imports_without_its_body_is_an_axiom_too(kind: str) -> None:
    line = declaration("A.t", kind=kind, inModuleSystem=True)
    assert spellings_of(line) == [f"{kind} A.t : True", "axiom A.t : True"]


@pytest.mark.parametrize(
    "line",
    [
        declaration("A.t", kind="def", inModuleSystem=True, isExposed=True),
        declaration("A.t", kind="structure", inModuleSystem=True),
        declaration("A.t", kind="theorem"),
    ],
)
def test_other_declarations_are_no_axioms(line: dict[str, object]) -> None:
    assert spellings_of(line) == [f"{line['kind']} A.t : True"]


def test_what_the_extraction_printed_itself_comes_first() -> None:
    printed = "/-- A fact. -/\ntheorem A.t.{u} {α : Sort u} : True"
    texts = spellings_of(declaration("A.t", doc="A fact.", decl=printed))
    assert texts[0] == printed
    assert "theorem A.t.{u} {α : Sort u} : True" in texts
    assert "theorem A.t : True" in texts


@pytest.mark.parametrize("decl", [None, 7, "lemma A.t : True"])
def test_a_decl_that_is_none_of_this_declaration_is_not_used(decl: object) -> None:
    assert spellings_of(declaration("A.t", decl=decl)) == ["theorem A.t : True"]


def test_only_premises_that_survive_the_filters_are_spelled(tmp_path: Path) -> None:
    lines = {"A": [declaration("A.t"), declaration("A.dropped", type="Lean.Name"), declaration("A.t", type="False")]}
    folder = write_corpus(tmp_path / "corpus", lines)
    assert read_spellings(folder, read_corpus(folder)) == ["theorem A.t : True", "theorem A.t : False"]


def test_a_set_of_texts_has_one_digest_whatever_its_order() -> None:
    assert digest_of_texts(["a", "b"]) == digest_of_texts(["b", "a"])
    assert digest_of_texts(["a", "b"]) != digest_of_texts(["a"])


def test_spellings_are_texts_that_lean_sent(tmp_path: Path) -> None:
    """Every monomorphic theorem and definition whose fields are as Lean prints them is spelled to the byte."""
    data = require_shared_data() / "lean-core-premises.jsonl.gz"
    with gzip.open(data, "rb") as lines:
        sent = [orjson.loads(line) for line in lines]
    plain = [line for line in sent if f" {line['name']} : " in line["decl"] and "decl_module_caller" in line][:500]
    for line in plain:
        kind, _, rest = line["decl"].partition(" ")
        result_type = rest.removeprefix(f"{line['name']} : ")
        fields = declaration(line["name"], kind=kind, type=result_type, inModuleSystem=True)
        assert spellings_of(fields) == [line["decl"], line["decl_module_caller"]]
    assert len(plain) > 100
