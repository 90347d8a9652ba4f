"""What a theorem's proof may use: imports of imports, and its own module's earlier premises."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from api.evaluation.accessible_premises import LeftOut, PlacedCorpus, PlacedQuery
from api.evaluation.evaluation_set import EvaluationQuery
from api.evaluation.module_imports import ModuleImports
from shared.corpus import read_corpus
from shared.errors import ArtifactError, CorpusError
from tests.corpora import as_lines, declaration, pack_corpus, write_corpus

DECLARATIONS = {
    "A": [declaration("A.one", line=1), declaration("Lean.A.hidden", line=4)],
    "B": [declaration("B.one", line=1)],
    "C": [
        declaration("C.one", line=1),
        declaration("C.two", line=5),
        declaration("C.two_additive", line=5),
        declaration("C.three", line=9),
    ],
    "D": [declaration("D.one", line=1)],
}
COMPACT = {"A": ["A"], "B": ["B", "A"], "C": ["C", "B", "Lean.Elab"], "D": ["D"]}
TRANSITIVE = {**COMPACT, "C": ["A", "B", "C"]}


def write_imports(folder: Path, imports: Mapping[str, Sequence[str]]) -> None:
    (folder / "Imports").mkdir()
    for module, names in imports.items():
        lines = [{"isDirect": name == module, "name": name} for name in names]
        (folder / "Imports" / f"{module}.jsonl").write_bytes(as_lines(lines))


def place_corpus(folder: Path, imports: Mapping[str, Sequence[str]] = COMPACT) -> PlacedCorpus:
    write_corpus(folder, DECLARATIONS)
    write_imports(folder, imports)
    return PlacedCorpus.read(folder, folder, read_corpus(folder))


def query(decl_name: str = "C.two", module: str = "C", line: int = 5, relevant: str = "A.one C.one") -> EvaluationQuery:
    return EvaluationQuery(decl_name, module, line, "⊢ True", frozenset(relevant.split()), 1)


def placed(corpus: PlacedCorpus, asked: EvaluationQuery) -> PlacedQuery:
    found = corpus.place(asked)
    assert isinstance(found, PlacedQuery), found
    return found


def names_of(corpus: PlacedCorpus, asked: EvaluationQuery) -> tuple[list[str], list[str]]:
    accessible = placed(corpus, asked).accessible
    modules = [corpus.corpus.modules[position] for position in accessible.imported_modules]
    return modules, [corpus.corpus.unfiltered_names[position] for position in accessible.local_premises]


@pytest.mark.parametrize("imports", [COMPACT, TRANSITIVE], ids=["compact", "transitive"])
def test_imports_of_imports_and_earlier_lines_are_accessible(
    tmp_path: Path, imports: Mapping[str, Sequence[str]]
) -> None:
    corpus = place_corpus(tmp_path / "corpus", imports)
    assert names_of(corpus, query()) == (["A", "B"], ["C.one"])


def test_what_begins_on_the_query_s_line_is_not_accessible_nor_is_the_query_itself(tmp_path: Path) -> None:
    corpus = place_corpus(tmp_path / "corpus")
    assert names_of(corpus, query("C.two_additive"))[1] == ["C.one"]
    assert names_of(corpus, query("C.two", line=9))[1] == ["C.one", "C.two_additive"]


def test_accessible_premises_are_counted_after_the_filters(tmp_path: Path) -> None:
    corpus = place_corpus(tmp_path / "corpus")
    assert placed(corpus, query()).accessible.count == 3


def test_equal_places_have_equal_keys_and_others_do_not(tmp_path: Path) -> None:
    corpus = place_corpus(tmp_path / "corpus")
    first, same, later = (placed(corpus, query(line=line)).accessible.key for line in (4, 5, 9))
    assert first == same != later


def test_only_accessible_premises_count_as_relevant(tmp_path: Path) -> None:
    corpus = place_corpus(tmp_path / "corpus")
    asked = query(relevant="A.one C.two C.three D.one Lean.A.hidden unknown")
    assert placed(corpus, asked).relevant == {"A.one"}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (query(module="Z"), "module is not in the corpus"),
        (query(relevant="D.one C.three"), "no relevant premise is accessible"),
        (query(relevant=""), "no relevant premise is accessible"),
    ],
)
def test_what_cannot_be_evaluated_is_left_out_with_its_reason(tmp_path: Path, asked: EvaluationQuery, why: str) -> None:
    assert place_corpus(tmp_path / "corpus").place(asked) == LeftOut(asked, why)


def test_of_two_declarations_with_one_name_the_survivor_s_module_decides(tmp_path: Path) -> None:
    folder = write_corpus(
        tmp_path / "corpus",
        {"A": [declaration("twice")], "B": [declaration("twice", line=1), declaration("B.one", line=5)]},
    )
    write_imports(folder, {"A": ["A"], "B": ["B"]})
    corpus = PlacedCorpus.read(folder, folder, read_corpus(folder))
    assert isinstance(corpus.place(query("B.one", "B", 5, "twice")), LeftOut)


def test_imports_are_read_from_an_archive_without_unpacking_it(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    corpus = place_corpus(folder)
    for top in (".", "premises"):
        archive = pack_corpus(folder, tmp_path / "premises.tar.gz", top_folder=top)
        imports = ModuleImports.read(archive, corpus.corpus.modules)
        assert np.flatnonzero(imports.transitive(2)).tolist() == [0, 1]


def test_an_archive_that_is_cut_is_refused(tmp_path: Path) -> None:
    corpus = place_corpus(tmp_path / "corpus")
    archive = pack_corpus(tmp_path / "corpus", tmp_path / "premises.tar.gz")
    archive.write_bytes(archive.read_bytes()[:400])
    with pytest.raises(ArtifactError, match="no whole tar archive"):
        ModuleImports.read(archive, corpus.corpus.modules)


def test_a_corpus_without_imports_or_without_those_of_a_module_is_refused(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "corpus", DECLARATIONS)
    with pytest.raises(CorpusError, match="has no folder Imports"):
        PlacedCorpus.read(folder, folder, read_corpus(folder))
    write_imports(folder, {"A": ["A"]})
    corpus = PlacedCorpus.read(folder, folder, read_corpus(folder))
    with pytest.raises(CorpusError, match="does not say what C imports"):
        corpus.place(query())


def test_a_broken_line_of_imports_is_told(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "corpus", DECLARATIONS)
    write_imports(folder, COMPACT)
    (folder / "Imports/B.jsonl").write_text('{"name": "A"}\n{"isDirect": true}\n')
    with pytest.raises(CorpusError, match=r"Imports/B\.jsonl, line 2: field 'name'"):
        PlacedCorpus.read(folder, folder, read_corpus(folder))


def test_a_declaration_without_a_line_is_told(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "corpus", {"A": [declaration("A.one", line=None)]})
    write_imports(folder, {"A": ["A"]})
    corpus = PlacedCorpus.read(folder, folder, read_corpus(folder))
    with pytest.raises(CorpusError, match=r"A\.jsonl, line 1: field 'line'"):
        corpus.place(query("A.two", "A", 5, "A.one"))


def test_imports_that_go_in_a_circle_are_refused() -> None:
    circle = ModuleImports({0: np.array([1]), 1: np.array([2]), 2: np.array([0])}, 3)
    with pytest.raises(CorpusError, match="circle"):
        circle.transitive(0)


def test_a_long_chain_and_a_diamond_of_imports_are_closed() -> None:
    chain = ModuleImports({module: np.array([module, module - 1]) for module in range(1, 3000)}, 3000)
    assert chain.transitive(2999).sum() == 2999
    assert not chain.transitive(2999)[2999]
    diamond = ModuleImports({3: np.array([2, 1]), 2: np.array([1, 0]), 1: np.array([0])}, 4)
    assert np.flatnonzero(diamond.transitive(3)).tolist() == [0, 1, 2]
