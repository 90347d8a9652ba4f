"""The recipe of an evaluation: group queries by what they may use, ask for rankings side by side, judge, keep."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from api.evaluation.accessible_premises import LeftOut, PlacedQuery
from api.evaluation.metrics import judge
from api.evaluation.partial_run import PartialRun
from api.evaluation.ranker import QueryRefusedError, Ranker, Ranking, RankingRequest
from api.evaluation.run import AnsweredQuery
from shared.errors import EvaluationError, PremiseServerError

MOST_STATES = 16
"""States of one request; they share the search, and a server takes more of them only up to its own limit."""

Batch = Sequence[PlacedQuery]


@dataclass
class Evaluator:
    """Asks for the rankings of queries and keeps what metrics need of them."""

    ranker: Ranker
    partial: PartialRun
    k: int
    selector: str | None = None
    concurrency: int = 8
    """Requests that are open at a time."""
    on_done: Callable[[int], object] = lambda _count: None
    """Called with the number of queries that have just been answered or refused."""
    refused: list[LeftOut] = field(default_factory=list)

    async def evaluate(self, queries: Sequence[PlacedQuery]) -> None:
        """Answer the queries that are not answered yet; the answers are in `partial`.

        Raises what `Ranker.rank` raises, and `EvaluationError` where rankings are cut short.
        """
        waiting = batches([query for query in queries if query.query.key not in self.partial.answered])
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(self._answer_one_after_the_other(waiting))
        except* PremiseServerError as errors:
            failed = errors.exceptions[0]
        else:
            return
        raise failed  # in the except* clause it would come out as a group

    async def _answer_one_after_the_other(self, waiting: Iterator[Batch]) -> None:
        for batch in waiting:
            await self._answer(batch)

    async def _answer(self, batch: Batch) -> None:
        request = RankingRequest([query.query.state for query in batch], batch[0].accessible, self.k, self.selector)
        try:
            rankings = await self.ranker.rank(request)
        except QueryRefusedError as error:
            await self._answer_singly(batch, error)
            return
        answered = [self._judged(query, ranking) for query, ranking in zip(batch, rankings, strict=True)]
        self.partial.add(answered)
        self.on_done(len(answered))

    async def _answer_singly(self, batch: Batch, error: QueryRefusedError) -> None:
        """One state may be to blame for all of them, or there may be more of them than the server takes."""
        if len(batch) > 1:
            for query in batch:
                await self._answer([query])
        else:
            self.refused.append(LeftOut(batch[0].query, f"refused: {error}", refused=True))
            self.on_done(1)

    def _judged(self, placed: PlacedQuery, ranking: Ranking) -> AnsweredQuery:
        expected = min(self.k, placed.accessible.count)
        if len(ranking) < expected:
            raise EvaluationError(
                f"{len(ranking)} premises came where {self.k} were asked for and {placed.accessible.count} are "
                f"accessible: recall beyond that would be wrong. The server's MAX_K is smaller: raise it, or ask for "
                f"less by --k."
            )
        query = placed.query
        judged = judge([name for name in ranking if name != query.decl_name], placed.relevant)
        return AnsweredQuery(
            key=query.key,
            decl_name=query.decl_name,
            module=query.module,
            line=query.line,
            accessible=placed.accessible.count,
            retrieved=len(ranking),
            relevant=judged.relevant,
            ranks=list(judged.ranks),
        )


def batches(queries: Sequence[PlacedQuery], most: int = MOST_STATES) -> Iterator[Batch]:
    """Queries whose accessible premises are the same, together, at most `most` at a time."""
    together = sorted(queries, key=lambda placed: placed.accessible.key)
    for _, group in groupby(together, key=lambda placed: placed.accessible.key):
        same = list(group)
        yield from (same[start : start + most] for start in range(0, len(same), most))
