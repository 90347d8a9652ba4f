"""The files of examples/ as their readers run them: against the real API, with a key, over a worker without weights."""

import asyncio
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from api.uploaded_texts import read_uploads
from shared.messages import Priority
from shared.redis_client import leases_key
from tests.embedding_fakes import wait_until
from tests.fake_deployment import MODEL, FakeDeployment, fake_deployment
from tests.processes import run_prepare, running, running_api

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
GOALS = 16
SECONDS = 240


@dataclass(frozen=True)
class Served:
    """An API that wants a key, and refuses more than a few goals at a time."""

    url: str
    log: Path
    deployment: FakeDeployment

    @property
    def url_with_key(self) -> str:
        return self.url.replace("://", f"://user:{KEY}@")

    def answers(self, status: int) -> int:
        """How many requests for rankings had this status, by the log."""
        return len(re.findall(rf"POST /retrieve {status}\b", self.log.read_text()))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        deployment = stack.enter_context(fake_deployment(tmp_path_factory.mktemp("examples")))
        stack.enter_context(deployment.worker())
        run_prepare(deployment.folder / "prepare.log", deployment.environment)
        settings = {"API_KEYS": KEY, "MAX_QUEUED_STATE_TOKENS": "60"}
        log = deployment.folder / "api.log"
        yield Served(stack.enter_context(running_api(log, deployment.environment | settings)), log, deployment)


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}
    return subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False
    )


def run_script(name: str, *options: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, str(EXAMPLES / name), *options], {"PREMISES_API_KEY": key})


def write_goals(path: Path, label: str, count: int = GOALS) -> dict[str, str]:
    states = {f"{label}:{number}": f"{label} {number} : Nat\n⊢ True" for number in range(count)}
    path.write_text("".join(json.dumps({"id": name, "state": state}) + "\n" for name, state in states.items()))
    return states


def read_rankings(path: Path) -> dict[str, list[dict[str, Any]]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    rankings = {line["id"]: line["premises"] for line in lines}
    assert len(rankings) == len(lines), "a goal was ranked twice"
    return rankings


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_premises_and_embeddings_with_the_key_in_the_address(served: Served) -> None:
    command = ["sh", str(EXAMPLES / "curl.sh")]
    shown = run(command, {"PREMISES_URL": served.url_with_key, "PREMISES_MODEL": MODEL})
    assert shown.returncode == 0, shown.stdout + shown.stderr
    best, of_modules, listed, embedded = [
        json.loads(line) for line in shown.stdout.split("\n") if line[:1] in "[{" and line
    ]
    assert len(best) == len(of_modules) == 5
    assert MODEL in [model["id"] for model in listed["data"]]
    assert [len(item["embedding"]) for item in embedded["data"]] == [8, 8]
    refused = run(command, {"PREMISES_URL": served.url})
    assert refused.returncode != 0
    assert "key" in refused.stdout


def test_the_openai_example_embeds_texts_and_token_ids(served: Served, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 7}, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    options = ("--url", served.url, "--tokenizer", str(tmp_path / "tokenizer.json"))
    shown = run_script("openai_client.py", *options)
    assert shown.returncode == 0, shown.stderr
    assert re.findall(r"^-?\d\.\d{3}  theorem", shown.stdout, re.MULTILINE)
    assert "in parts: (200, 8)" in shown.stdout
    assert "from token ids: (3, 8)" in shown.stdout
    refused = run_script("openai_client.py", *options, key="wrong")
    assert refused.returncode == 1
    assert refused.stderr.startswith("401: ")
    assert "Traceback" not in refused.stderr


def test_the_openai_example_in_parts_outlasts_a_full_queue(served: Served) -> None:
    example = runpy.run_path(str(EXAMPLES / "openai_client.py"))
    texts = [f"{number} waits for its turn {'x' * 200}" for number in range(5)]
    statuses: list[int] = []

    async def note(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        if response.status_code == 429:
            served.deployment.gate.unlink(missing_ok=True)

    async def embed_in_parts() -> NDArray[np.float32]:
        connections = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
        async with openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key=KEY, max_retries=example["RETRIES"], http_client=connections
        ) as client:
            vectors: NDArray[np.float32] = await example["embed_in_parts"](client, MODEL, texts, part=1)
            return vectors

    served.deployment.gate.touch()
    try:
        vectors = asyncio.run(embed_in_parts())
    finally:
        served.deployment.gate.unlink(missing_ok=True)
    assert statuses.count(429) > 0
    assert statuses.count(200) == len(texts)
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY) as client:
        np.testing.assert_allclose(vectors, example["embed"](client, MODEL, texts), atol=1e-6)


def test_goals_are_ranked_as_one_by_one_though_the_server_is_busy(served: Served, tmp_path: Path) -> None:
    states = write_goals(tmp_path / "goals.jsonl", "busy", 12)
    served.deployment.gate.write_text("1.0")  # so that goals meet in the queue on a busy machine too
    try:
        shown = run_script(
            "rank_goals.py", str(tmp_path / "goals.jsonl"), str(tmp_path / "out.jsonl"), "--url", served.url, "-k", "3"
        )
    finally:
        served.deployment.gate.unlink()
    assert shown.returncode == 0, shown.stderr
    assert served.answers(429) > 0, "nothing was refused, so nothing was tried again"
    rankings = read_rankings(tmp_path / "out.jsonl")
    assert rankings.keys() == states.keys()
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for name in list(states)[:3]:
            assert client.post("/retrieve", json={"state": states[name], "k": 3}).json() == rankings[name]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(served: Served, tmp_path: Path) -> None:
    goals, output = tmp_path / "goals.jsonl", tmp_path / "out.jsonl"
    states = write_goals(goals, "torn")
    command = [sys.executable, str(EXAMPLES / "rank_goals.py"), str(goals), str(output)]
    options = ["--url", served.url, "--concurrency", "1"]
    served.deployment.gate.write_text("0.2")
    try:
        with running(command + options, tmp_path / "log", {"PREMISES_API_KEY": KEY}) as process:
            wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") >= 2)
            served.deployment.gate.write_text("")  # no more of them
            process.stop(signal.SIGKILL)
            wait_until(lambda: not served.deployment.client.zcard(leases_key("fake", Priority.STATE)))
    finally:
        served.deployment.gate.unlink()
    before = read_rankings(output)
    assert 2 <= len(before) < GOALS
    with output.open("a") as file:
        file.write('{"id": "torn:')
    asked_before = served.answers(200)
    shown = run_script("rank_goals.py", str(goals), str(output), *options)
    assert shown.returncode == 0, shown.stderr
    assert read_rankings(output).keys() == states.keys()
    wait_until(lambda: served.answers(200) - asked_before >= GOALS - len(before))  # logged once they are sent
    assert served.answers(200) - asked_before == GOALS - len(before)


def test_a_goal_that_is_refused_is_told_and_tried_again(served: Served, tmp_path: Path) -> None:
    goals, output = tmp_path / "goals.jsonl", tmp_path / "out.jsonl"
    goals.write_text('{"id": "bad", "state": "⊢ True", "k": "many"}\n{"id": "good", "state": "⊢ True"}\n')
    for _ in range(2):
        shown = run_script("rank_goals.py", str(goals), str(output), "--url", served.url)
        assert shown.returncode == 1
        assert "bad: 422: " in shown.stderr
        assert "1 goals were refused" in shown.stderr
        assert "Traceback" not in shown.stderr
    assert read_rankings(output).keys() == {"good"}
    goals.write_text("no goal\n")
    assert "goals.jsonl, line 1: " in run_script("rank_goals.py", str(goals), str(output), "--url", served.url).stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_curl_that_keeps_uploads_stands_before_the_real_one(served: Served, tmp_path: Path) -> None:
    body = json.dumps({"state": "⊢ True", "new_premises": [{"name": "é.t", "decl": "theorem é.t : True"}], "k": 1})
    path = f"{EXAMPLES / 'keep-uploads'}:{os.environ['PATH']}"
    command = ["curl", "-s", "-X", "POST", "--header", "Content-Type: application/json", "--data", "@-"]
    shown = subprocess.run(
        [*command, f"{served.url_with_key}/retrieve"],
        env={"PATH": path, "KEEP_UPLOADS_IN": str(tmp_path / "sent")},
        input=body, capture_output=True, encoding="utf-8", timeout=SECONDS, check=True,
    )  # fmt: skip
    assert len(json.loads(shown.stdout)) == 1
    [kept] = (tmp_path / "sent").iterdir()
    assert [(upload.name, upload.text) for upload in read_uploads(kept)] == [("é.t", "theorem é.t : True")]
    get = ["curl", "-s", f"{served.url_with_key}/max-new-premises"]
    environment = {"PATH": path, "KEEP_UPLOADS_IN": str(tmp_path / "sent")}
    assert subprocess.run(get, env=environment, capture_output=True, timeout=SECONDS, check=True).stdout == b"2048"
    assert len(list((tmp_path / "sent").iterdir())) == 1


def test_the_lean_example_names_routes_that_the_server_has(served: Served) -> None:
    text = (EXAMPLES / "Premises.lean").read_text(encoding="utf-8")
    routes = set(re.findall(r"`(GET|POST) (/[a-z-]+)`", text))
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert ("POST", "/retrieve") in routes
    for method, path in routes:
        assert method.lower() in paths[path]
    addresses = re.findall(r'premiseSelection\.apiBaseUrl(?: =)? "([^"]+)"', text)
    assert len(addresses) == 2
    assert all(httpx.URL(address).path in {"", "/"} and not address.endswith("/") for address in addresses)


def test_every_example_is_listed_and_no_listed_one_is_missing() -> None:
    listed = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    present = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert listed == present
