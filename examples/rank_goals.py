"""Premises for many goals, for evaluations: JSON lines in, JSON lines out, some requests open at a time.

    pip install httpx tqdm
    python examples/rank_goals.py goals.jsonl rankings.jsonl --url http://127.0.0.1:8000 -k 32

A line of the input is a request to `/retrieve` with an `id` of your choice:

    {"id": "Nat.add_zero:1", "state": "n : Nat\\n⊢ Eq (HAdd.hAdd n 0) n", "imported_modules": ["Init.Core"]}

A line of the output is `{"id": …, "premises": [{"score": …, "name": …}, …]}`, in the order in which answers come.
Interrupted, it goes on where it stopped when it is called again: goals whose ids are in the output are left out.
A goal that the server refuses is told on standard error and is asked for again the next time.
PREMISES_API_KEY holds the key of a server that wants one.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
from tqdm import tqdm

BUSY = {429, 503, 504}
"""The server has too much to do, a part of it is away, or the deadline passed: worth another try."""
TRIES = 20
LONGEST_PAUSE_SECONDS = 60.0
TIMEOUT_SECONDS = 150.0
"""Longer than the server's own deadline, so that it is the server that says what went wrong."""

Goal = dict[str, Any]


class GoalRefusedError(Exception):
    """The server will not rank this goal."""


@dataclass
class Ranking:
    """Goals that are still to be ranked, and where their rankings go."""

    client: httpx.AsyncClient
    goals: Iterator[Goal]
    output: IO[str]
    progress: "tqdm[Any]"
    k: int
    refused: int = 0

    async def rank_one_after_the_other(self) -> None:
        """Take goals until there are none; several of these run side by side."""
        for goal in self.goals:
            try:
                premises = await retrieve(self.client, {"k": self.k, **goal})
            except GoalRefusedError as error:
                self.refused += 1
                tqdm.write(f"{goal['id']}: {error}", file=sys.stderr)
            else:
                self.output.write(json.dumps({"id": goal["id"], "premises": premises}, ensure_ascii=False) + "\n")
                self.output.flush()
            self.progress.update()


async def retrieve(client: httpx.AsyncClient, goal: Goal) -> list[dict[str, Any]]:
    """The ranking of one goal; waits and asks again while the server is busy.  Raises `GoalRefusedError`."""
    body = {name: value for name, value in goal.items() if name != "id"}
    for attempt in range(TRIES):
        try:
            response = await client.post("/retrieve", json=body)
        except httpx.TransportError as error:
            why, pause = f"the server cannot be reached ({type(error).__name__})", 0.0
        else:
            if response.status_code == httpx.codes.OK:
                premises: list[dict[str, Any]] = response.json()
                return premises
            why, pause = detail_of(response), seconds_told(response)
            if response.status_code not in BUSY:
                raise GoalRefusedError(why)
        await asyncio.sleep(min(pause or 0.5 * 2**attempt, LONGEST_PAUSE_SECONDS))
    raise GoalRefusedError(f"{why}, {TRIES} times")


def detail_of(response: httpx.Response) -> str:
    """What the server says is wrong."""
    try:
        return f"{response.status_code}: {response.json()['detail']}"
    except (ValueError, LookupError, TypeError):  # a proxy in between has answered
        return f"{response.status_code}: {response.reason_phrase}"


def seconds_told(response: httpx.Response) -> float:
    """How long the server wants to be left alone; 0 where it does not say."""
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else 0.0


def read_goals(path: Path) -> list[Goal]:
    """All lines of the input; ends the program at one that cannot be used."""
    goals: list[Goal] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            goal = as_goal(line)
            if goal is None:
                sys.exit(f'{path}, line {number}: a goal is an object like {{"id": "…", "state": "…"}}.')
            goals.append(goal)
    return goals


def as_goal(line: str) -> Goal | None:
    """The goal of a line; None: it is none."""
    try:
        goal = json.loads(line)
    except ValueError:
        return None
    usable = isinstance(goal, dict) and isinstance(goal.get("id"), str | int) and "state" in goal
    return goal if usable else None


def ranked_ids(path: Path) -> set[Any]:
    """Ids that the output has already; a last line that an interruption cut off is removed from it."""
    if not path.exists():
        return set()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    return {json.loads(line)["id"] for line in whole.splitlines()}


async def rank(asked: argparse.Namespace) -> int:
    """How many goals were refused."""
    done = ranked_ids(asked.output)
    goals = read_goals(asked.goals)
    waiting = [goal for goal in goals if goal["id"] not in done]
    key = os.environ.get("PREMISES_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=asked.concurrency)
    with (
        asked.output.open("a", encoding="utf-8") as output,
        tqdm(total=len(goals), initial=len(goals) - len(waiting), unit="goal", desc="Ranking") as progress,
    ):
        async with httpx.AsyncClient(
            base_url=asked.url, timeout=TIMEOUT_SECONDS, headers=headers, limits=limits
        ) as client:
            ranking = Ranking(client, iter(waiting), output, progress, asked.k)
            await asyncio.gather(*(ranking.rank_one_after_the_other() for _ in range(asked.concurrency)))
    return ranking.refused


def main() -> int:
    """Read the command line, rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goals", type=Path, help="JSON lines with id and state")
    parser.add_argument("output", type=Path, help="JSON lines with id and premises; it is added to")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the server")
    parser.add_argument("-k", type=int, default=32, help="premises for each goal (a goal's own k comes first)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests that are open at a time")
    refused = asyncio.run(rank(parser.parse_args()))
    if refused:
        print(f"{refused} goals were refused: call this again to try them once more.", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
