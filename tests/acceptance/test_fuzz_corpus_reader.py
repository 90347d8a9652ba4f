"""Corpus folders of every kind of brokenness, against a reader that takes them one line and one field at a time."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from api.corpus_review.inspection import Inspection, inspect_corpus
from api.corpus_review.report import CorpusReport
from api.corpus_review.report_text import report_lines
from shared.corpus import Corpus, OnBrokenLine, read_corpus
from shared.errors import CorpusError
from tests.acceptance.fuzz_models import CorpusModel, Faults, fuzzed, read_corpus_slowly

MODULES = ["A", "A.B", "A-B", "B", "Lean.C", "Mathlib.Tactic.D", "Tactics", "«Odd é»"]
NAMES = [
    "a", "b", "c", "A.a", "A.b", "denied", "Lean.a", "x.Lake.y", "Qq", "Leandro", "«weird name».«Lean»", "∀é", "",
    "nul\0",
]  # fmt: skip
REVISIONS = [b"", b"\n", b" v2 \r\n", b"\xff", "v2".encode("utf-16"), "v2".encode("utf-16-le"), "é".encode("latin-1")]
TYPES = ["True", "Nat", "a = b", "True", "Lean.Expr", "Lean", "Leanish → Lean.Name", ""]
DOCS = [None, "", " About it.\n", "\t", "é😀\u2028", "\xa0no-break\xa0"]

NOT_WHAT_IT_SHOULD_BE: list[object] = [None, 1, True, "text", [1], ["a", None], {}, {"a": []}, "\ud800", "\udfff x"]
NO_LINES = [b"", b" ", b"null", b"0", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"# note", b"\0\0"]

Value = TypeVar("Value")
Fields = dict[str, object]


@st.composite
def declarations(draw: st.DrawFn) -> Fields:
    """A declaration's fields, in any order."""
    flags = st.sampled_from([True, False, None])
    optional = {"doc": st.sampled_from(DOCS), "inModuleSystem": flags, "isExposed": flags}
    fields: Fields = {
        "name": draw(st.sampled_from(NAMES)),
        "kind": draw(st.sampled_from(["theorem", "def", "axiom", "Theorem"])),
        "args": draw(st.lists(st.sampled_from(["(a : Nat)", "{α : Type u}", ""]), max_size=2)),
        "type": draw(st.sampled_from(TYPES)),
        "unread": draw(st.sampled_from([1.5, [None], {"name": "other"}, 10**30])),
        **draw(st.fixed_dictionaries({}, optional=optional)),
    }
    return dict(draw(st.permutations([*fields.items()])))


@st.composite
def lines(draw: st.DrawFn, fields: st.SearchStrategy[Fields]) -> bytes:
    text = json.dumps(draw(fields), ensure_ascii=draw(st.booleans()))
    return (draw(st.sampled_from(["", " "])) + text + draw(st.sampled_from(["", "\r", " \t"]))).encode()


@st.composite
def broken_lines(draw: st.DrawFn, all_fields: st.SearchStrategy[Fields]) -> bytes:
    """A line with one thing wrong, though perhaps with something that nobody reads."""
    fields = draw(all_fields)
    key = draw(st.sampled_from([*fields, "doc", "isExposed"]))
    text = json.dumps(fields)
    place = draw(st.integers(0, len(text)))
    wrong = {key: draw(st.sampled_from(NOT_WHAT_IT_SHOULD_BE))}
    piece = draw(st.sampled_from(["", "\0", "\t", "}", "{", '"', "\\", "NaN", ","]))
    ways = [
        *[json.dumps(fields | wrong).encode()] * 3,
        json.dumps({other: value for other, value in fields.items() if other != key}).encode(),
        (text[:-1] + "," + json.dumps(wrong)[1:]).encode(),
        json.dumps(fields | {key: "é"}, ensure_ascii=False).encode("latin-1", "ignore"),
        *(text.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-8-sig")),
        text[:place].encode(),
        (text[:place] + piece + text[place:]).encode(),
        (text + text).encode(),
        json.dumps([fields]).encode(),
        draw(st.sampled_from(NO_LINES)),
    ]
    return draw(st.sampled_from(ways))


@st.composite
def contents(draw: st.DrawFn, fields: st.SearchStrategy[Fields]) -> bytes:
    """Lines of a file; in some files one is broken, others are cut."""
    found = draw(st.lists(lines(fields), min_size=1, max_size=5))
    damage = draw(st.sampled_from(["none"] * 6 + ["broken line", "cut"]))
    if damage == "broken line":
        found.insert(draw(st.integers(0, len(found))), draw(broken_lines(fields)))
    content = b"".join(line + b"\n" for line in found)
    return content[: draw(st.integers(0, len(content)))] if damage == "cut" else content


@st.composite
def corpora(draw: st.DrawFn) -> dict[str, bytes]:
    """A corpus folder as contents by path: much is sound, some is damaged, some is missing."""
    one_module: st.SearchStrategy[Fields] = st.fixed_dictionaries({"name": st.sampled_from(MODULES)})
    denied: st.SearchStrategy[Fields] = st.fixed_dictionaries({"hammerBlacklist": st.lists(st.sampled_from(NAMES))})
    listed = b"".join(json.dumps({"name": name}).encode() + b"\n" for name in MODULES)
    modules = draw(st.lists(st.sampled_from(MODULES), min_size=1, max_size=4, unique=True))
    files = {
        "revision": draw(mostly(st.just(b"v1\n"), st.sampled_from(REVISIONS))),
        "Modules.jsonl": draw(mostly(st.just(listed), contents(one_module))),
        "HammerBlacklist.jsonl": draw(mostly(lines(denied), broken_lines(denied))),
        "Declarations/notes.txt": b"not a module",
        "Declarations/Unlisted.jsonl": b"",
        **{f"Declarations/{module}.jsonl": draw(contents(declarations())) for module in modules},
    }
    missing = draw(mostly(st.just([]), st.lists(st.sampled_from([*files]), max_size=2)))
    return {path: content for path, content in files.items() if path not in missing}


def mostly(usual: st.SearchStrategy[Value], unusual: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Nine times in ten the usual."""
    return st.sampled_from([usual] * 9 + [unusual]).flatmap(lambda chosen: chosen)


@contextmanager
def written(files: Mapping[str, bytes]) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        for path, content in files.items():
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        yield Path(folder)


def read(files: Mapping[str, bytes], on_broken_line: OnBrokenLine) -> Corpus | CorpusError:
    with written(files) as folder:
        try:
            return read_corpus(folder, on_broken_line=on_broken_line)
        except CorpusError as error:
            return error


def review(files: Mapping[str, bytes]) -> CorpusReport:
    with written(files) as folder:
        return inspect_corpus(
            Inspection(named="c", folder=folder, max_text_characters=1000, progress=no_bar, most_of_a_kind=3)
        )


def no_bar(label: str, total: int, unit: str) -> "tqdm[NoReturn]":
    return tqdm(total=total, desc=label, unit=unit, disable=True)


def as_model(corpus: Corpus) -> CorpusModel:
    rows = corpus.row_of_unfiltered.tolist()
    return CorpusModel(corpus.revision, corpus.modules, corpus.unfiltered_names, corpus.premises, rows)


def check(files: Mapping[str, bytes], on_broken_line: OnBrokenLine) -> None:
    expected = read_corpus_slowly(files, skip_rest=on_broken_line == "skip-rest")
    read_or_refused = read(files, on_broken_line)
    if isinstance(read_or_refused, Corpus):
        assert as_model(read_or_refused) == expected
    else:
        message = str(read_or_refused)
        assert message.isprintable()
        assert isinstance(expected, Faults)
        assert expected.are_told_by(message)


modes: st.SearchStrategy[OnBrokenLine] = st.sampled_from(["stop", "skip-rest"])


@fuzzed(300)
@given(corpora(), modes)
def test_a_corpus_is_read_as_it_stands_or_its_fault_is_told_in_a_line(
    files: dict[str, bytes], on_broken_line: OnBrokenLine
) -> None:
    check(files, on_broken_line)


@fuzzed(300)
@given(broken_lines(declarations()), st.sampled_from(["A.jsonl", "B.jsonl"]), modes)
def test_a_line_with_one_thing_wrong_is_read_where_that_does_no_harm_and_told_of_elsewhere(
    line: bytes, file: str, on_broken_line: OnBrokenLine
) -> None:
    sound = b'{"name":"%s","kind":"def","args":[],"type":"Nat"}'
    files = {
        "revision": b"v1",
        "Modules.jsonl": b'{"name":"A"}\n{"name":"B"}',
        "Declarations/A.jsonl": sound % b"first",
        "Declarations/B.jsonl": sound % b"last",
    }
    around = [sound % b"before", line, sound % b"after"]
    check(files | {f"Declarations/{file}": b"\n".join(around)}, on_broken_line)


@fuzzed(150)
@given(corpora())
def test_a_corpus_that_reads_without_skipping_reads_the_same_with_it(files: dict[str, bytes]) -> None:
    strict = read(files, "stop")
    if isinstance(strict, Corpus):
        lenient = read(files, "skip-rest")
        assert isinstance(lenient, Corpus)
        assert lenient.digest == strict.digest


@fuzzed(100)
@given(corpora(), st.dictionaries(st.sampled_from(["Imports/A.jsonl", "Imports/B.jsonl"]), st.binary(max_size=40)))
def test_a_review_finds_errors_where_a_server_would_not_start_and_nowhere_else(
    files: dict[str, bytes], imports: dict[str, bytes]
) -> None:
    strict, report = read(files, "stop"), review(files | imports)
    assert report.can_be_served == isinstance(strict, Corpus)
    assert report.digest == (strict.digest if isinstance(strict, Corpus) else None)
    assert all(line.isprintable() for line in report_lines(report))


file_names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    max_size=12,
)


@fuzzed(200)
@given(file_names)
def test_a_fault_is_told_in_one_printable_line_whatever_its_file_is_called(name: str) -> None:
    sound = {"revision": b"v1\n", "Modules.jsonl": b"", "Declarations/A.jsonl": b""}
    error = read({**sound, f"Declarations/{name}.jsonl": b"{}\n"}, "stop")
    assert isinstance(error, CorpusError)
    assert str(error).isprintable()
