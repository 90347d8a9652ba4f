import os
from pathlib import Path

import numpy as np
import orjson
import pytest

from shared.archive import unpack_corpus
from shared.corpus import Corpus, read_corpus
from shared.errors import CorpusError
from tests.corpora import Declaration, as_lines, declaration, write_corpus, write_plain_corpus
from tests.golden import require_shared_data


def names_of(corpus: Corpus) -> list[str]:
    return [premise.name for premise in corpus.premises]


def write_one_file(folder: Path, content: bytes) -> Path:
    write_plain_corpus(folder, 1)
    (folder / "Declarations" / "A.jsonl").write_bytes(content)
    return folder


def test_a_premise_reads_as_doc_comment_and_signature(tmp_path: Path) -> None:
    fields = {"doc": "  About it.\n", "kind": "def", "args": ["{α : Type u}", "(a b : α)"], "type": "a = b"}
    corpus = read_corpus(write_corpus(tmp_path / "c", {"A": [declaration("A.«x y»", **fields)]}))
    assert corpus.premises[0].text == "/-- About it. -/\ndef A.«x y» {α : Type u} (a b : α) : a = b"
    assert not corpus.premises[0].is_theorem


def test_a_signature_without_binders_has_two_spaces_before_the_colon(tmp_path: Path) -> None:
    assert read_corpus(write_plain_corpus(tmp_path / "c", 1)).premises[0].text == "theorem A.t0  : True"


def test_an_empty_doc_comment_is_not_a_missing_one(tmp_path: Path) -> None:
    corpus = read_corpus(write_corpus(tmp_path / "c", {"A": [declaration("a", doc="")]}))
    assert corpus.premises[0].text == "/--  -/\ntheorem a  : True"


def test_flags_are_read_and_default_to_false_in_older_data(tmp_path: Path) -> None:
    older: Declaration = {"name": "A.old", "kind": "def", "args": [], "type": "Nat"}
    newer = declaration("A.new", kind="def", inModuleSystem=True, isExposed=True)
    old, new = read_corpus(write_corpus(tmp_path / "c", {"A": [older, newer]})).premises
    assert (old.in_module_system, old.is_exposed, old.text) == (False, False, "def A.old  : Nat")
    assert (new.in_module_system, new.is_exposed) == (True, True)


def test_a_premise_knows_the_parts_of_its_signature(tmp_path: Path) -> None:
    fields = {"doc": "a : b", "kind": "def", "args": ["(a : α)", "{b : β}"], "type": "a : b"}
    lines = [declaration("A.b", **fields), declaration("A.c")]
    both, none = read_corpus(write_corpus(tmp_path / "c", {"A": lines})).premises
    assert (both.kind, both.binders, both.result_type) == ("def", "(a : α) {b : β}", "a : b")
    assert (none.kind, none.binders, none.result_type) == ("theorem", "", "True")


@pytest.mark.parametrize("module", ["Mathlib.Tactic.Ring", "Lean", "Std.Test.A", "Util"])
def test_modules_with_a_denied_component_are_left_out(tmp_path: Path, module: str) -> None:
    corpus = read_corpus(write_corpus(tmp_path / "c", {module: [declaration("a")], "Tactics.B": [declaration("b")]}))
    assert names_of(corpus) == ["b"]
    assert sorted(corpus.unfiltered_names) == ["a", "b"]


@pytest.mark.parametrize("name", ["Lean.Expr", "A.Lake.b", "Qq"])
def test_names_with_a_denied_component_are_left_out(tmp_path: Path, name: str) -> None:
    corpus = read_corpus(write_corpus(tmp_path / "c", {"A": [declaration(name), declaration("Leandro.Qqq")]}))
    assert names_of(corpus) == ["Leandro.Qqq"]


def test_declarations_of_a_type_in_the_namespace_lean_are_left_out(tmp_path: Path) -> None:
    lines = [declaration("parser", type="Lean.ParserDescr"), declaration("kept", type="LeanLike → Lean.Name")]
    assert names_of(read_corpus(write_corpus(tmp_path / "c", {"A": lines}))) == ["kept"]


def test_the_hammer_blacklist_leaves_out_names(tmp_path: Path) -> None:
    lines = {"A": [declaration("a"), declaration("b")]}
    assert names_of(read_corpus(write_corpus(tmp_path / "c", lines, denied_names=["a"]))) == ["b"]


def test_without_a_hammer_blacklist_no_name_is_denied_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    (folder / "HammerBlacklist.jsonl").unlink()
    assert len(read_corpus(folder).premises) == 3
    assert "HammerBlacklist.jsonl is missing" in caplog.text


def test_the_first_surviving_duplicate_of_a_name_wins(tmp_path: Path) -> None:
    lines = {
        "A": [declaration("x", type="Lean.Name"), declaration("y")],
        "B": [declaration("x", type="first"), declaration("x", type="second")],
    }
    corpus = read_corpus(write_corpus(tmp_path / "c", lines))
    assert [(premise.name, premise.text) for premise in corpus.premises] == [
        ("y", "theorem y  : True"),
        ("x", "theorem x  : first"),
    ]


def test_an_unfiltered_position_means_the_survivor_of_its_name(tmp_path: Path) -> None:
    lines = {
        "A": [declaration("x", type="Lean.Name"), declaration("y"), declaration("gone", type="Lean.Name")],
        "B": [declaration("x"), declaration("y")],
    }
    corpus = read_corpus(write_corpus(tmp_path / "c", lines))
    assert corpus.unfiltered_names == ["x", "y", "gone", "x", "y"]
    assert corpus.row_of_unfiltered.tolist() == [1, 0, -1, 1, 0]
    assert corpus.row_of_unfiltered.dtype == np.int32


def test_files_come_in_the_order_of_their_names_with_the_suffix(tmp_path: Path) -> None:
    lines = {module: [declaration(module)] for module in ["A.B", "A", "A-B", "Z", "a"]}
    corpus = read_corpus(write_corpus(tmp_path / "c", lines))
    assert names_of(corpus) == ["A-B", "A.B", "A", "Z", "a"]
    assert corpus.modules == ["A", "A-B", "A.B", "Z", "a"]


def test_modules_without_declarations_are_listed_and_other_files_ignored(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", {"B": [declaration("b")]}, empty_modules=["A"])
    (folder / "Declarations" / "notes.txt").write_text("not a module")
    assert read_corpus(folder).modules == ["A", "B"]


BROKEN_LINES = {
    "cut short": b'{"name": "x", "kind"',
    "not an object": b"[1]",
    "blank": b"",
    "not UTF-8": b'{"name": "\xff"}',
    "a lone surrogate": rb'{"name": "\ud800", "kind": "def", "args": [], "type": "Nat"}',
    "no type": b'{"name": "x", "kind": "def", "args": []}',
    "a name that is a number": b'{"name": 1, "kind": "def", "args": [], "type": "Nat"}',
    "binders in one string": b'{"name": "x", "kind": "def", "args": "(a)", "type": "Nat"}',
    "a binder that is null": b'{"name": "x", "kind": "def", "args": [null], "type": "Nat"}',
    "a doc that is a list": b'{"name": "x", "kind": "def", "args": [], "type": "Nat", "doc": []}',
    "a flag that is a string": b'{"name": "x", "kind": "def", "args": [], "type": "Nat", "isExposed": "no"}',
}


@pytest.mark.parametrize("broken", BROKEN_LINES.values(), ids=BROKEN_LINES.keys())
def test_a_broken_line_ends_the_reading_with_its_file_and_number(tmp_path: Path, broken: bytes) -> None:
    folder = write_one_file(tmp_path / "c", as_lines([declaration("a")]) + broken + b"\n")
    with pytest.raises(CorpusError, match=r"A\.jsonl, line 2: .*CORPUS_ON_BROKEN_LINE=skip-rest"):
        read_corpus(folder)


@pytest.mark.parametrize("broken", BROKEN_LINES.values(), ids=BROKEN_LINES.keys())
def test_skip_rest_drops_the_rest_of_that_file_alone(
    tmp_path: Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_corpus(tmp_path / "c", {"A": [], "B": [declaration("kept too")]})
    lines = as_lines([declaration("kept")]) + broken + b"\n" + as_lines([declaration("dropped")])
    (folder / "Declarations" / "A.jsonl").write_bytes(lines)
    assert names_of(read_corpus(folder, on_broken_line="skip-rest")) == ["kept", "kept too"]
    assert "dropped this and 1 more lines" in caplog.text


def test_a_last_line_without_newline_is_read(tmp_path: Path) -> None:
    folder = write_one_file(tmp_path / "c", as_lines([declaration("a"), declaration("b")]).rstrip())
    assert names_of(read_corpus(folder)) == ["a", "b"]


def test_a_declaration_of_an_unlisted_module_is_an_error_in_either_mode(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    (folder / "Declarations" / "Lean.Hidden.jsonl").write_bytes(as_lines([declaration("x")]))
    with pytest.raises(CorpusError, match=r"Modules\.jsonl has no module 'Lean\.Hidden'"):
        read_corpus(folder, on_broken_line="skip-rest")


@pytest.mark.parametrize("missing", ["revision", "Modules.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    (folder / missing).unlink()
    with pytest.raises(CorpusError, match=f"has no file {missing}"):
        read_corpus(folder)


@pytest.mark.parametrize("name", ["revision", "Modules.jsonl", "Declarations/A.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CorpusError, match=f"{name} is no regular file"):
        read_corpus(folder)


def test_a_missing_folder_of_declarations_is_named(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c", 0)
    (folder / "Declarations" / "A.jsonl").unlink()
    (folder / "Declarations").rmdir()
    with pytest.raises(CorpusError, match="no folder Declarations"):
        read_corpus(folder)


def test_a_corpus_without_premises_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no premise that survives"):
        read_corpus(write_corpus(tmp_path / "c", {"A": [declaration("Lean.x")]}))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("revision", b"\n"),
        ("revision", b"\xff"),
        ("revision", b"v1\nv2\n"),
        ("revision", b"v" * 201),
        ("Modules.jsonl", b'{"nom": "A"}\n'),
        ("Modules.jsonl", b"A\n"),
        ("HammerBlacklist.jsonl", b"[]"),
        ("HammerBlacklist.jsonl", b'{"hammerBlacklist": [1]}'),
    ],
)
def test_other_unusable_files_are_named(tmp_path: Path, file: str, content: bytes) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    (folder / file).write_bytes(content)
    with pytest.raises(CorpusError, match=file):
        read_corpus(folder, on_broken_line="skip-rest")


def test_the_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    one, same = (read_corpus(write_plain_corpus(tmp_path / name)) for name in ("one", "same"))
    assert one.digest == same.digest
    assert len(one.digest) == 64


@pytest.mark.parametrize(
    ("lines", "revision"),
    [
        ({"A": [declaration("a"), declaration("b")]}, "v4.0.1"),
        ({"A": [declaration("b"), declaration("a")]}, "v4.0.0"),
        ({"A": [declaration("a"), declaration("b", doc="")]}, "v4.0.0"),
        ({"A": [declaration("a"), declaration("b", isExposed=True)]}, "v4.0.0"),
        ({"A": [declaration("a"), declaration("b"), declaration("Lean.c")]}, "v4.0.0"),
        ({"A": [declaration("a"), declaration("b")], "B": []}, "v4.0.0"),
    ],
)
def test_the_digest_changes_with_anything_that_is_served(
    tmp_path: Path, lines: dict[str, list[Declaration]], revision: str
) -> None:
    base = read_corpus(write_corpus(tmp_path / "base", {"A": [declaration("a"), declaration("b")]}))
    assert read_corpus(write_corpus(tmp_path / "other", lines, revision=revision)).digest != base.digest


def test_a_real_corpus_has_the_counts_that_are_known_of_it(tmp_path: Path) -> None:
    corpus = read_corpus(unpack_corpus(require_shared_data() / "small-corpus.tar.gz", tmp_path))
    assert (len(corpus.modules), len(corpus.unfiltered_names), len(corpus.premises)) == (30, 4014, 3482)
    assert corpus.revision == "v4.32.0"
    for name, row in zip(corpus.unfiltered_names, corpus.row_of_unfiltered.tolist(), strict=True):
        assert row == -1 or corpus.premises[row].name == name


def test_fields_that_nobody_reads_are_ignored(tmp_path: Path) -> None:
    line = orjson.dumps(declaration("a") | {"decl": "theorem a : True", "unheard": {"of": [1.5, None]}})
    assert names_of(read_corpus(write_one_file(tmp_path / "c", line + b"\n"))) == ["a"]


def test_the_digest_of_a_corpus_never_changes(tmp_path: Path) -> None:
    """Vectors that took an hour to compute lie under it; this one was taken before premises knew their parts."""
    fields = {"doc": "About it.", "kind": "def", "args": ["(a : α)"], "type": "β", "isExposed": True}
    lines = [declaration("A.b", **fields), declaration("A.«∀»", inModuleSystem=True)]
    corpus = read_corpus(write_corpus(tmp_path / "c", {"A": lines}, denied_names=["A.none"]))
    assert corpus.digest == "8785522368c6ddece09df919c464b905ae0fa23e57684700de4914d84c3dde70"
