"""Declarations of a corpus that are uploaded as new premises are known: no job, whatever Redis holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.corpus import read_corpus
from tests.corpora import Declaration, declaration, write_corpus
from tests.embedding_fakes import PATIENCE_SECONDS
from tests.exposition import Growth, Scrape
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import run_prepare, running_api

SHARED = 2048
STATE = "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n"


@dataclass
class TwoCorpora:
    """A server over the later of two corpora that share 2,048 declarations; both were prepared here."""

    deployment: FakeDeployment
    url: str
    shared: list[str]
    only_earlier: list[str]

    def upload(self, texts: Sequence[str]) -> Growth:
        """Send texts as new premises; returns what the metrics grew by."""
        new = [{"name": f"new{number}", "decl": text} for number, text in enumerate(texts)]
        before = Scrape.from_api(self.url)
        body = {"state": STATE, "new_premises": new, "imported_modules": [], "k": 8}
        answer = httpx.post(f"{self.url}/retrieve", json=body, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()) == min(8, len(texts))
        return Growth(before, Scrape.from_api(self.url))

    def forget_cached_texts(self) -> None:
        """Leave Redis the goal alone."""
        client = self.deployment.client
        for key in client.scan_iter("emb:*"):
            client.delete(key)
        self.upload([])


def corpus_of(folder: Path, others: str) -> Path:
    """2,048 theorems that do not depend on `others`, and a hundred that do."""
    lines: list[Declaration] = [declaration(f"A.t{number}", args=["(n : Nat)"]) for number in range(SHARED)]
    lines += [declaration(f"A.{others}{number}") for number in range(100)]
    return write_corpus(folder, {"A": lines}, revision=others)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoCorpora]:
    folder = tmp_path_factory.mktemp("two-corpora")
    earlier, later = corpus_of(folder / "earlier", "old"), corpus_of(folder / "later", "new")
    with fake_deployment(folder) as deployment, deployment.worker():
        for corpus in (earlier, later):
            run_prepare(folder / "prepare.log", deployment.environment | {"DATA": str(corpus)})
        with running_api(folder / "api.log", deployment.environment) as url:
            texts = [premise.text for premise in read_corpus(earlier).premises]
            yield TwoCorpora(deployment, url, texts[:SHARED], texts[SHARED:])


def test_uploading_what_the_served_corpus_has_makes_no_job(server: TwoCorpora) -> None:
    server.forget_cached_texts()
    growth = server.upload(server.shared)
    assert growth("premises_jobs_published_total") == 0
    assert growth("premises_cache_hits_total", tier="corpus") == SHARED
    assert growth("premises_cache_misses_total", tier="corpus") == 0


def test_uploading_what_an_earlier_corpus_had_makes_no_job(server: TwoCorpora) -> None:
    server.forget_cached_texts()
    growth = server.upload(server.only_earlier)
    assert growth("premises_jobs_published_total") == 0
    assert growth("premises_cache_hits_total", tier="corpus") == len(server.only_earlier)


def test_a_text_that_differs_in_one_space_is_embedded(server: TwoCorpora) -> None:
    server.forget_cached_texts()
    growth = server.upload([server.only_earlier[0].replace("  : ", " : ")])
    assert growth("premises_jobs_published_total") == 1
    assert growth("premises_cache_misses_total", tier="redis") == 1


def test_a_client_that_wants_token_counts_gets_those_of_the_text(server: TwoCorpora) -> None:
    server.forget_cached_texts()
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"model": "fake-model", "input": server.shared[0]})
    assert answer.json()["usage"]["prompt_tokens"] == len(server.shared[0])
