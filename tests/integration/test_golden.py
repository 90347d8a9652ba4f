"""The recorded answers of the replaced server, over HTTP: the small corpus, its given vectors, MiniLM."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.golden import GoldenCase, assert_same_ranking, load_golden_cases
from tests.integration.conftest import Server, make_server

MAX_K = 1024


@pytest.fixture(scope="module")
def small_corpus(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        yield make_server(
            stack,
            tmp_path_factory.mktemp("golden"),
            replicas=1,
            DATA=str(shared_data / "small-corpus.tar.gz"),
            EMBEDDINGS=str(shared_data / "embeddings" / "small-all-MiniLM-L6-v2.npy"),
        )


def test_every_golden_case_is_answered_as_recorded(small_corpus: Server) -> None:
    cases: list[GoldenCase] = load_golden_cases()
    assert len(cases) == 80
    for case in cases:
        response = small_corpus.client().post("/retrieve", json=case.request)
        assert response.status_code == 200, (case.case, response.text)
        whole = len(case.response) == min(case.request["k"], MAX_K)
        assert_same_ranking(case.response, response.json(), truncated=whole)


def test_the_lists_are_those_of_the_unfiltered_corpus(small_corpus: Server) -> None:
    assert len(small_corpus.client().get("/indexed-premises").json()) == 4014
    assert len(small_corpus.client().get("/indexed-modules").json()) == 30
