from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import orjson
import pytest
from tqdm import tqdm

from api.corpus_review.findings import Finding
from api.corpus_review.imports import find_cycles
from api.corpus_review.inspection import Inspection, inspect_corpus
from api.corpus_review.report import CorpusReport
from api.corpus_review.report_text import report_lines
from shared.archive import unpack_corpus
from shared.corpus import read_corpus
from tests.corpora import (
    Declaration,
    as_lines,
    declaration,
    pack_corpus,
    unit_vectors,
    write_corpus,
    write_plain_corpus,
)
from tests.golden import require_shared_data


def no_bar(label: str, total: int, unit: str) -> "tqdm[NoReturn]":
    return tqdm(total=total, desc=label, unit=unit, disable=True)


def inspect(
    folder: Path,
    *,
    archive: Path | None = None,
    embeddings: Path | None = None,
    most_of_a_kind: int | None = None,
    max_text_characters: int = 1000,
) -> CorpusReport:
    return inspect_corpus(
        Inspection(
            named="c",
            folder=folder,
            archive=archive,
            embeddings=embeddings,
            max_text_characters=max_text_characters,
            progress=no_bar,
            most_of_a_kind=most_of_a_kind,
        )
    )


def write_imports(folder: Path, imports: Mapping[str, Sequence[str]]) -> None:
    (folder / "Imports").mkdir(exist_ok=True)
    for module, names in imports.items():
        lines = as_lines([{"isDirect": name == module, "name": name} for name in (module, *names)])
        (folder / "Imports" / f"{module}.jsonl").write_bytes(lines)


def sound_corpus(folder: Path, declarations: Mapping[str, Sequence[Declaration]]) -> Path:
    """With import lists, so that nothing is found in it."""
    write_corpus(folder, declarations)
    write_imports(folder, dict.fromkeys(declarations, ()))
    return folder


def found(report: CorpusReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.place) for finding in report.findings]


def only_finding(report: CorpusReport) -> Finding:
    (finding,) = report.findings
    return finding


def test_nothing_is_found_in_a_sound_corpus(tmp_path: Path) -> None:
    report = inspect(sound_corpus(tmp_path / "c", {"A": [declaration("a")], "B": [declaration("b")]}))
    assert (report.findings, report.can_be_served, report.revision) == ([], True, "v4.0.0")


def test_the_digest_is_that_of_the_server(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    assert inspect(folder).digest == read_corpus(folder).digest


def test_premises_are_counted_after_the_filters_and_declarations_before(tmp_path: Path) -> None:
    lines = [
        declaration("a", doc="About a."),
        declaration("b", kind="def", isExposed=True, inModuleSystem=True),
        declaration("Lean.c", doc="Left out."),
    ]
    counts = inspect(sound_corpus(tmp_path / "c", {"Lib.A": lines, "Lib.B": []})).counts
    assert (counts.modules, counts.modules_with_premises, counts.declarations, counts.premises) == (2, 1, 3, 2)
    assert (counts.declarations_with_doc, counts.with_doc, counts.in_module_system, counts.exposed) == (2, 1, 1, 1)
    assert (counts.by_kind, counts.by_library) == ({"theorem": 1, "def": 1}, {"Lib": 2})


def test_each_filter_tells_what_it_leaves_out_and_what_it_alone_leaves_out(tmp_path: Path) -> None:
    lines = {
        "A": [declaration("kept"), declaration("listed"), declaration("Lean.x", type="Lean.Name"), declaration("Qq.y")],
        "M.Tactic": [declaration("Lean.z"), declaration("t")],
    }
    left_out = inspect(write_corpus(tmp_path / "c", lines, denied_names=["listed", "unheard"])).left_out
    effects = {name: (effect.matches, effect.alone, effect.frequent) for name, effect in left_out.filters.items()}
    assert effects == {
        "blacklist": (1, 1, {}),
        "type prefix": (1, 0, {"Lean.Name": 1}),
        "name component": (3, 1, {"Lean": 2, "Qq": 1}),
        "module component": (2, 1, {"Tactic": 2}),
    }
    assert (left_out.total, left_out.blacklist_names, left_out.blacklist_names_declared) == (5, 2, 1)


def test_a_duplicate_is_told_with_both_places(tmp_path: Path) -> None:
    report = inspect(sound_corpus(tmp_path / "c", {"A": [declaration("a"), declaration("x")], "B": [declaration("x")]}))
    finding = only_finding(report)
    assert (finding.kind, finding.place) == ("duplicate-name", "Declarations/B.jsonl:1")
    assert "Declarations/A.jsonl:2" in finding.message
    assert (report.left_out.total, report.can_be_served) == (1, True)


def test_every_broken_line_is_told_not_the_first_alone(tmp_path: Path) -> None:
    folder = sound_corpus(tmp_path / "c", {"A": [], "B": []})
    (folder / "Declarations" / "A.jsonl").write_bytes(b'{"name": 1}\n' + as_lines([declaration("a")]) + b"{\n")
    (folder / "Declarations" / "B.jsonl").write_bytes(rb'{"name": "\ud800"}' + b"\n")
    report = inspect(folder)
    assert found(report) == [
        ("broken-line", "Declarations/A.jsonl:1"),
        ("broken-line", "Declarations/A.jsonl:3"),
        ("broken-line", "Declarations/B.jsonl:1"),
    ]
    assert (report.can_be_served, report.digest) == (False, None)
    assert "'name' is missing or not a string" in report.findings[0].message


FAULTS_OF_A_LINE: dict[str, tuple[str, dict[str, object]]] = {
    "a name with a line break": ("odd-name", {"name": "a\nb"}),
    "no name": ("odd-name", {"name": ""}),
    "an empty type": ("empty-type", {"type": " "}),
    "a text that no request may have": ("long-text", {"type": "x" * 1000}),
    "an unheard kind": ("unknown-kind", {"kind": "Theorem"}),
    "no line": ("no-position", {"line": None}),
    "a line that is true": ("no-position", {"line": True}),
    "a column before the first": ("no-position", {"column": -1}),
    "a line before the last one's": ("unordered-lines", {"line": 1}),
    "a column before the last one's": ("unordered-lines", {"line": 7, "column": 2}),
}


@pytest.mark.parametrize(("kind", "fields"), FAULTS_OF_A_LINE.values(), ids=FAULTS_OF_A_LINE.keys())
def test_what_is_odd_in_a_line_is_told_and_does_not_keep_it_from_being_served(
    tmp_path: Path, kind: str, fields: dict[str, object]
) -> None:
    lines = [declaration("first", line=7, column=3), declaration("second", line=8) | fields]
    report = inspect(sound_corpus(tmp_path / "c", {"A": lines}))
    assert found(report) == [(kind, "Declarations/A.jsonl:2")]
    assert report.can_be_served


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("revision", b"", ("unusable-file", "revision")),
        ("Modules.jsonl", b'{"name":"A"}\n{"nom":"B"}\n', ("broken-line", "Modules.jsonl:2")),
        ("Modules.jsonl", b'{"name":"A"}\n{"name":"A"}\n', ("duplicate-module", "Modules.jsonl:2")),
        ("HammerBlacklist.jsonl", b"[]", ("unusable-file", "HammerBlacklist.jsonl")),
        ("HammerBlacklist.jsonl", b'{"hammerBlacklist":["unheard"]}', ("unused-blacklist", "HammerBlacklist.jsonl")),
        ("Declarations/notes.txt", b"", ("unread-file", "Declarations/notes.txt")),
        ("Declarations/Hidden.jsonl", as_lines([declaration("h")]), ("unlisted-module", "Declarations/Hidden.jsonl")),
        ("Imports/A.jsonl", b'{"name":"A"}\n{"name":1}\n', ("broken-import", "Imports/A.jsonl:2")),
        ("Imports/A.jsonl", b'{"name":"A"}\n{"name":"Z"}\n', ("unknown-import", "Imports/A.jsonl:2")),
        ("Imports/Z.jsonl", b"", ("stray-imports", "Imports/Z.jsonl")),
    ],
)
def test_what_is_wrong_with_other_files_is_told_with_its_place(
    tmp_path: Path, file: str, content: bytes, expected: tuple[str, str]
) -> None:
    folder = sound_corpus(tmp_path / "c", {"A": [declaration("a")]})
    (folder / file).write_bytes(content)
    assert found(inspect(folder)) == [expected]


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("revision", "missing-file"),
        ("Modules.jsonl", "missing-file"),
        ("HammerBlacklist.jsonl", "unused-blacklist"),
        ("Imports/A.jsonl", "missing-imports"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, file: str, kind: str) -> None:
    folder = sound_corpus(tmp_path / "c", {"A": [declaration("a")], "B": []})
    (folder / file).unlink()
    assert (kind, file) in found(inspect(folder))


def test_modules_that_import_each_other_are_told_with_the_line_of_the_first_import(tmp_path: Path) -> None:
    folder = sound_corpus(tmp_path / "c", {name: [declaration(name)] for name in "ABCD"})
    write_imports(folder, {"A": ["B"], "B": ["D", "C"], "C": ["B"]})
    finding = only_finding(inspect(folder))
    assert (finding.kind, finding.place, finding.severity) == ("import-cycle", "Imports/B.jsonl:3", "warning")
    assert "B → C → B" in finding.message


def test_a_module_outside_the_corpus_is_told_once_however_often_it_is_imported(tmp_path: Path) -> None:
    folder = sound_corpus(tmp_path / "c", {"A": [declaration("a")], "B": [declaration("b")]})
    write_imports(folder, {"A": ["Lean.Expr"], "B": ["A", "Lean.Expr"]})
    report = inspect(folder)
    finding = only_finding(report)
    assert (finding.place, finding.severity, report.imports.modules_outside) == ("Imports/A.jsonl:2", "note", 1)


def test_every_circle_of_imports_is_found_and_importing_oneself_is_none() -> None:
    imports = [np.array(listed, dtype=np.int32) for listed in ([0, 1], [0], [3, -1, 2], [4], [2, 0], [5, 0])]
    assert list(find_cycles(imports)) == [[0, 1, 0], [2, 3, 4, 2]]


def test_of_each_kind_no_more_findings_are_listed_than_wanted_but_all_are_counted(tmp_path: Path) -> None:
    report = inspect(sound_corpus(tmp_path / "c", {"A": [declaration("x")] * 8}), most_of_a_kind=5)
    assert len(report.findings) == 5
    assert report.finding_counts == {"duplicate-name": 7}
    assert any("2 more of this kind" in line for line in report_lines(report))


def test_an_archive_is_reviewed_with_its_import_lists(tmp_path: Path) -> None:
    folder = sound_corpus(tmp_path / "c", {"A": [declaration("a")]})
    write_imports(folder, {"A": ["Z"]})
    archive = pack_corpus(folder, tmp_path / "premises.tar.gz", top_folder="mathlib")
    report = inspect(unpack_corpus(archive, tmp_path / "unpacked"), archive=archive)
    assert found(report) == [("unknown-import", "Imports/A.jsonl:2")]
    assert report.archive_sha256 == unpack_corpus(archive, tmp_path / "unpacked").parent.name


@pytest.mark.parametrize(
    ("rows", "said", "fault"),
    [
        (3, {}, ""),
        (3, {"revision": "v4.0.0"}, ""),
        (3, {"revision": "v9"}, "revision v9"),
        (3, {"corpus_digest": "0" * 64}, "corpus digest"),
        (2, {}, "have 2 rows"),
    ],
)
def test_given_embeddings_are_held_against_the_corpus(
    tmp_path: Path, rows: int, said: dict[str, str], fault: str
) -> None:
    path = tmp_path / "e.npy"
    np.save(path, unit_vectors(rows))
    path.with_suffix(".json").write_bytes(orjson.dumps(said))
    folder = write_plain_corpus(tmp_path / "c")
    write_imports(folder, {"A": []})
    report = inspect(folder, embeddings=path)
    assert report.can_be_served == (not fault)
    if fault:
        assert (only_finding(report).kind, fault in only_finding(report).message) == ("unfit-embeddings", True)
    else:
        assert report.embeddings is not None
        assert (report.embeddings.rows, report.embeddings.dimension) == (3, 8)


def test_the_counts_of_a_real_corpus_are_those_that_are_known_of_it(tmp_path: Path) -> None:
    archive = require_shared_data() / "small-corpus.tar.gz"
    report = inspect(unpack_corpus(archive, tmp_path), archive=archive)
    assert (report.counts.modules, report.counts.declarations, report.counts.premises) == (30, 4014, 3482)
    assert (report.imports.files, report.can_be_served) == (30, True)
