"""The whole server on this machine, MiniLM over the demo corpus: a first answer, and goals under load."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import orjson

from shared.artifacts import model_folder
from shared.settings import Settings
from tests.benchmarks.big_model import declaration_texts, some_texts
from tests.benchmarks.comparison import Comparison, seconds_of
from tests.benchmarks.embedding import embedder
from tests.integration.conftest import Server, make_server
from worker.encoder import Encoder

PREMISES = 2048
CACHED_PREMISES = 64
IDLE_GOALS, GOALS_UNDER_LOAD = 60, 100
PAUSE_SECONDS = 0.05
SPEED_TEXTS = 512
SECTION = "The whole server"
BODY = {"imported_modules": None, "local_premises": None, "k": 32}


def measure_system(corpus: Path | None, folder: Path) -> Iterator[Comparison]:
    """`corpus` is an unpacked corpus folder; the demo corpus without one.  Some three minutes."""
    declarations = declaration_texts(corpus)
    encoder = Encoder.load(
        model_folder(Settings(model_id="demo")), dtype="float32", device="auto", cache_dtype="float32"
    )
    alone_tokens, alone_seconds = alone(encoder, some_texts(declarations, SPEED_TEXTS, seed=1))
    with ExitStack() as stack:
        server = make_server(stack, folder, replicas=1)
        premises = some_texts(declarations, PREMISES)
        retrieve(server.client(), "⊢ warm", some_texts(declarations, 64, seed=9))
        seconds = seconds_of(lambda: retrieve(server.client(), "⊢ first", premises))
        tokens = sum(map(len, encoder.tokenize(premises)))
        yield Comparison(
            section=SECTION, what=f"{PREMISES} new premises and a goal, nothing cached", ours=seconds, unit="s"
        )
        yield Comparison(
            section=SECTION, what="the same in tokens, whole server", ours=tokens / seconds, unit="tokens/s",
            theirs=alone_tokens / alone_seconds, alternative="its encoder alone",
            ratio=(tokens / seconds) / (alone_tokens / alone_seconds), target=0.85,
        )  # fmt: skip
        again = seconds_of(lambda: retrieve(server.client(), "⊢ first", premises))
        yield Comparison(section=SECTION, what="the same request again, all cached", ours=1e3 * again, unit="ms")
        yield from goals_under_load(server, declarations)


def alone(encoder: Encoder, texts: Sequence[str]) -> tuple[int, float]:
    """Tokens, and the median seconds to tokenise and embed them in full batches."""
    embed = embedder(encoder)
    embed(texts[:32])
    return sum(map(len, encoder.tokenize(texts))), statistics.median(seconds_of(lambda: embed(texts)) for _ in range(3))


def retrieve(client: httpx.Client, state: str, premises: Sequence[str]) -> None:
    """One request; the answer must be one."""
    client.post("/retrieve", content=request(state, premises), timeout=300).raise_for_status()


def request(state: str, premises: Sequence[str]) -> bytes:
    """A body with new premises."""
    new = [{"name": f"My.premise_{place}", "decl": text} for place, text in enumerate(premises)]
    return orjson.dumps(BODY | {"state": state, "new_premises": new})


def goals_under_load(server: Server, declarations: Sequence[str]) -> Iterator[Comparison]:
    """New goals over cached premises, alone and while another client uploads new premises without end."""
    cached = some_texts(declarations, CACHED_PREMISES, seed=3)
    retrieve(server.client(), "⊢ cache these", cached)
    idle = goal_seconds(server, cached, IDLE_GOALS, "idle")
    loaded = asyncio.run(with_load(server, cached, declarations))
    idle_p95, loaded_p95 = (1e3 * float(np.percentile(seconds, 95)) for seconds in (idle, loaded))
    limit = max(5 * idle_p95, idle_p95 + 60)
    what = "new goal, cached premises: median"
    yield Comparison(section=SECTION, what=f"{what}, idle", ours=1e3 * statistics.median(idle), unit="ms")
    yield Comparison(section=SECTION, what=f"{what}, under load", ours=1e3 * statistics.median(loaded), unit="ms")
    yield Comparison(section=SECTION, what="new goal, cached premises: p95, idle", ours=idle_p95, unit="ms")
    yield Comparison(
        section=SECTION, what=f"the same while another client uploads {PREMISES} new premises in a loop: p95",
        ours=loaded_p95, unit="ms", target=limit,
    )  # fmt: skip


def goal_seconds(server: Server, cached: Sequence[str], goals: int, name: str) -> list[float]:
    """Seconds of requests one after the other, with a pause as a person or a tactic makes one."""
    seconds = []
    for number in range(goals):
        state = f"x y : Nat\nh : x = y + {number}\n⊢ y + {number} = x  -- {name}"
        seconds.append(seconds_of(partial(retrieve, server.client(), state, cached)))
        time.sleep(PAUSE_SECONDS)
    return seconds


async def with_load(server: Server, cached: Sequence[str], declarations: Sequence[str]) -> list[float]:
    """The same while uploads go on; they are sent from here without waiting, so that they cost this thread little."""
    async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
        loading = asyncio.create_task(upload_for_ever(client, declarations))
        await asyncio.sleep(1)
        seconds = await asyncio.to_thread(goal_seconds, server, cached, GOALS_UNDER_LOAD, "loaded")
        if loading.done():
            await loading
        loading.cancel()
    return seconds


async def upload_for_ever(client: httpx.AsyncClient, declarations: Sequence[str]) -> None:
    """Upload after upload, each of premises never seen before."""
    for number in count():
        premises = [f"{text} -- upload {number}" for text in some_texts(declarations, PREMISES, seed=100 + number)]
        response = await client.post("/retrieve", content=request(f"⊢ upload {number}", premises))
        response.raise_for_status()
