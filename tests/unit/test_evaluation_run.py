"""Evaluations are carried out, kept, saved, summarised, compared and plotted."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from api.evaluation.accessible_premises import AccessiblePremises, PlacedQuery
from api.evaluation.comparison import compare
from api.evaluation.evaluation_set import EvaluationQuery
from api.evaluation.evaluator import Evaluator, batches
from api.evaluation.partial_run import PartialRun
from api.evaluation.plot import check_plot, plot_recall
from api.evaluation.ranker import LONGEST_PAUSE_SECONDS, QueryRefusedError, Ranking, RankingRequest, patiently
from api.evaluation.report_text import comparison_text, run_text
from api.evaluation.run import AnsweredQuery, Answerer, EvaluationRun, Provenance, QueryLeftOut
from api.evaluation.summary import group_of, summarise
from shared.errors import DeadlineExceededError, EvaluationError, NotReadyError, OverloadedError

NAMES = [f"p{number}" for number in range(20)]
ANSWERER = Answerer(through="http", server="http://host/v1", model="m", namespace="n", selector="dense")


@dataclass
class InOrder:
    """Ranks the same names for every state; refuses bad states, and requests of more states than it takes."""

    names: Sequence[str] = tuple(NAMES)
    most_states: int = 64
    answerer: Answerer = ANSWERER
    asked: list[RankingRequest] = field(default_factory=list)

    async def rank(self, request: RankingRequest) -> list[Ranking]:
        self.asked.append(request)
        await asyncio.sleep(0)
        if len(request.states) > self.most_states or "bad" in request.states:
            raise QueryRefusedError("no")
        return [list(self.names[: request.k]) for _ in request.states]


def place(number: int, relevant: str, *, state: str = "⊢ True", local: int | None = None) -> PlacedQuery:
    names = frozenset(relevant.split())
    query = EvaluationQuery(f"t{number}", "Mathlib.A.B", number, state, names, number)
    own = np.array([number if local is None else local])
    return PlacedQuery(query, AccessiblePremises(np.array([0]), own, len(NAMES)), names)


def evaluate(folder: Path, ranker: InOrder, queries: Sequence[PlacedQuery], k: int = 8) -> Evaluator:
    with PartialRun(folder / "partial", "same") as partial:
        evaluator = Evaluator(ranker, partial, k, concurrency=2)
        asyncio.run(evaluator.evaluate(queries))
    return evaluator


def answered(number: int, *ranks: int, relevant: int = 2, module: str = "Mathlib.A.B") -> AnsweredQuery:
    return AnsweredQuery(
        key=f"k{number}", decl_name=f"t{number}", module=module, line=number, accessible=20, retrieved=8,
        relevant=relevant, ranks=list(ranks),
    )  # fmt: skip


def run_of(*queries: AnsweredQuery, left_out: Sequence[QueryLeftOut] = ()) -> EvaluationRun:
    provenance = Provenance(
        program_version="1", started_at="2026-01-01T00:00:00+00:00", command={"k": 8}, evaluation_set="dev.jsonl",
        evaluation_digest="e" * 64, corpus_digest="c" * 64, revision="v4", answerer=ANSWERER,
    )  # fmt: skip
    return EvaluationRun(provenance=provenance, k=8, answered=list(queries), left_out=list(left_out))


def test_ranks_of_relevant_premises_are_kept_in_the_order_of_the_ranking(tmp_path: Path) -> None:
    evaluator = evaluate(tmp_path, InOrder(), [place(1, "p3 p0 p9")])
    (query,) = evaluator.partial.answered.values()
    assert (query.relevant, query.ranks, query.retrieved, query.accessible) == (3, [1, 4], 8, 20)


def test_the_theorem_itself_is_taken_out_of_its_ranking(tmp_path: Path) -> None:
    evaluator = evaluate(tmp_path, InOrder(["t1", *NAMES]), [place(1, "p0")])
    assert next(iter(evaluator.partial.answered.values())).ranks == [1]


def test_states_share_a_request_only_where_the_same_is_accessible() -> None:
    queries = [place(number, "p0", local=number % 2) for number in range(6)]
    together = [[query.query.line for query in batch] for batch in batches(queries, most=2)]
    assert sorted(together) == [[0, 2], [1, 3], [4], [5]]


def test_a_request_is_written_as_clients_write_it() -> None:
    body = RankingRequest(["⊢ True"], place(1, "p0").accessible, 4).body().decode()
    assert body == '{"imported_modules":[0],"k":4,"local_premises":[1],"state":"⊢ True"}'
    several = RankingRequest(["a", "b"], place(1, "p0").accessible, 4, "hybrid").body().decode()
    assert several.endswith('"selector":"hybrid","state":["a","b"]}')


def test_a_refused_state_is_counted_and_its_neighbours_are_answered(tmp_path: Path) -> None:
    queries = [place(1, "p0", local=0), place(2, "p0", state="bad", local=0), place(3, "p0", local=0)]
    evaluator = evaluate(tmp_path, InOrder(), queries)
    assert {query.line for query in evaluator.partial.answered.values()} == {1, 3}
    assert [(left.query.line, left.refused) for left in evaluator.refused] == [(2, True)]


def test_states_go_one_by_one_where_the_server_takes_fewer(tmp_path: Path) -> None:
    evaluator = evaluate(tmp_path, InOrder(most_states=1), [place(number, "p0", local=0) for number in range(3)])
    assert len(evaluator.partial.answered) == 3
    assert evaluator.refused == []


def test_a_ranking_that_was_cut_short_ends_the_evaluation_with_a_word_on_max_k(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"3 premises came where 8 .* 20 are accessible.*MAX_K"):
        evaluate(tmp_path, InOrder(NAMES[:3]), [place(1, "p0")])


def test_an_evaluation_goes_on_where_it_stopped_even_after_a_line_was_cut_off(tmp_path: Path) -> None:
    queries = [place(number, "p0") for number in range(4)]
    evaluate(tmp_path, InOrder(), queries[:2])
    with (tmp_path / "partial").open("a") as file:
        file.write('{"key": "torn')
    ranker = InOrder()
    evaluator = evaluate(tmp_path, ranker, queries)
    assert len(ranker.asked) == 2
    assert len(evaluator.partial.answered) == 4


def test_what_another_evaluation_left_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    evaluate(tmp_path, InOrder(), [place(1, "p0")])
    with pytest.raises(EvaluationError, match="left of another evaluation"):
        PartialRun(tmp_path / "partial", "other")


def test_a_damaged_partial_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "partial").write_text("same\nnonsense\n")
    with pytest.raises(EvaluationError, match="damaged"):
        PartialRun(tmp_path / "partial", "same")


@dataclass
class Busy:
    """Fails some times, then answers; notes the pauses."""

    errors: list[Exception]
    pauses: list[float] = field(default_factory=list)

    async def attempt(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_a_busy_server_is_asked_again_after_the_time_that_it_says() -> None:
    busy = Busy([OverloadedError("full", 7), NotReadyError("away"), DeadlineExceededError("late")])
    assert asyncio.run(patiently(busy.attempt, sleep=busy.sleep)) == "done"
    assert busy.pauses == [7, 1.0, 2.0]


def test_a_server_that_says_to_come_back_in_a_year_is_asked_again_after_the_longest_pause() -> None:
    busy = Busy([OverloadedError("full", 365 * 24 * 3600)])
    assert asyncio.run(patiently(busy.attempt, sleep=busy.sleep)) == "done"
    assert busy.pauses == [LONGEST_PAUSE_SECONDS]


def test_patience_ends_and_what_is_no_use_to_repeat_is_not_repeated() -> None:
    busy = Busy([NotReadyError("away") for _ in range(9)])
    with pytest.raises(NotReadyError):
        asyncio.run(patiently(busy.attempt, tries=3, sleep=busy.sleep))
    assert len(busy.pauses) == 2
    refused = Busy([QueryRefusedError("no")])
    with pytest.raises(QueryRefusedError):
        asyncio.run(patiently(refused.attempt, sleep=refused.sleep))
    assert refused.pauses == []


def test_a_saved_run_is_read_again_as_it_was(tmp_path: Path) -> None:
    run = run_of(answered(1, 1, 3), left_out=[QueryLeftOut(decl_name="t", module="M", line=1, number=2, why="so")])
    run.write(tmp_path / "run.json")
    assert EvaluationRun.read(tmp_path / "run.json") == run
    assert list(tmp_path.iterdir()) == [tmp_path / "run.json"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("{}"), "no saved run"),
        (lambda path: run_of().write(path), "no answered query"),
        (lambda path: path.unlink(missing_ok=True), "cannot be read"),
    ],
)
def test_what_is_no_saved_run_is_told(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(tmp_path / "run.json")
    with pytest.raises(EvaluationError, match=said):
        EvaluationRun.read(tmp_path / "run.json")


def test_a_summary_has_means_over_all_queries_and_by_group_largest_first() -> None:
    run = run_of(answered(1, 1, 2), answered(2, 1), answered(3, module="Mathlib.C.D"))
    summary = summarise(run, [1, 8])
    assert summary.overall.row(8).recall.mean == pytest.approx((1 + 0.5 + 0) / 3)
    assert summary.overall.row(8).full_recall.mean == pytest.approx(1 / 3)
    assert [(group.group, group.queries) for group in summary.groups] == [("Mathlib.A", 2), ("Mathlib.C", 1)]
    assert summary.groups[0].row(1).recall.mean == pytest.approx(0.5)


def test_a_run_without_an_answer_is_reported_with_what_was_left_out(tmp_path: Path) -> None:
    left = QueryLeftOut(decl_name="t", module="M", line=1, number=2, why="refused: too long", refused=True)
    summary = summarise(run_of(left_out=[left]), [1, 8])
    assert (summary.overall.queries, summary.overall.rows, summary.groups) == (0, [], [])
    text = run_text(summary)
    assert "No query was answered" in text
    assert "Left out: 1 queries: refused." in text
    plot_recall({"nothing": summary}, tmp_path / "nothing.svg")
    assert (tmp_path / "nothing.svg").exists()


def test_groups_are_as_deep_as_asked_for() -> None:
    assert group_of("Mathlib.Algebra.Group.Basic") == "Mathlib.Algebra"
    assert group_of("Mathlib.Algebra.Group.Basic", 3) == "Mathlib.Algebra.Group"
    assert group_of("Mathlib") == "Mathlib"


def test_a_cutoff_beyond_what_was_asked_for_is_refused() -> None:
    with pytest.raises(EvaluationError, match="asked for 8 premises"):
        summarise(run_of(answered(1, 1)), [16])


def test_a_comparison_pairs_queries_and_subtracts_the_first_run() -> None:
    first = run_of(answered(1, 5), answered(2, 1), answered(3))
    second = run_of(answered(2, 1, 2), answered(1, 1), answered(4, 1))
    comparison = compare(first, second, [1, 8])
    assert (comparison.queries, comparison.only_first, comparison.only_second) == (2, 1, 1)
    at_one, at_eight = comparison.rows
    assert at_one.recall.mean == pytest.approx((0.5 + 0) / 2)
    assert at_eight.recall.mean == pytest.approx((0 + 0.5) / 2)


def test_paired_intervals_are_narrower_than_the_difference_of_unpaired_ones() -> None:
    generator = np.random.default_rng(0)
    ranks = [sorted(generator.choice(np.arange(1, 9), size=2, replace=False).tolist()) for _ in range(200)]
    first = run_of(*(answered(number, *pair) for number, pair in enumerate(ranks)))
    second = run_of(*(answered(number, *[max(1, pair[0] - 1), pair[1]]) for number, pair in enumerate(ranks)))
    paired = compare(first, second, [4]).rows[0].mrr
    alone = summarise(first, [4]).overall.row(4).mrr
    assert paired.low > 0
    assert paired.high - paired.low < alone.high - alone.low


def test_queries_with_another_number_of_relevant_premises_are_not_the_same() -> None:
    with pytest.raises(EvaluationError, match="no query in common"):
        compare(run_of(answered(1, 1, relevant=2)), run_of(answered(1, 1, relevant=3)), [1])


def test_the_tables_tell_provenance_metrics_groups_and_what_was_left_out() -> None:
    left = [QueryLeftOut(decl_name="t", module="M", line=1, number=2, why="module is not in the corpus")] * 2
    run = run_of(answered(1, 1, 2), answered(2, 8, module="Init.C"), left_out=left)
    text = run_text(summarise(run, [1, 8]))
    assert "dev.jsonl: 2 queries" in text
    assert "selector dense, through http://host/v1" in text
    assert "1  0.250 [" in text
    assert "Left out: 2 queries: module is not in the corpus." in text
    assert "Init.C" in text
    difference = comparison_text("b", "a", compare(run, run, [1]))
    assert difference.startswith("b less a, over the 2 queries of both:")
    assert "+0.000 [+.000 +.000] " in difference


def test_runs_are_plotted_side_by_side_by_their_names(tmp_path: Path) -> None:
    summary = summarise(run_of(answered(1, 1, 2), answered(2, 8)), [1, 4, 8])
    for name in ("recall.svg", "recall.png"):
        check_plot(tmp_path / name)
        plot_recall({"first run": summary, "second run": summary}, tmp_path / name)
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "recall.svg").read_text()
    again = tmp_path / "again.svg"
    plot_recall({"first run": summary, "second run": summary}, again)
    assert again.read_text() == drawn
    one = tmp_path / "one.svg"
    plot_recall({"first run": summary}, one)
    assert one.read_text().count("clip-path") < drawn.count("clip-path")


def test_a_plot_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "recall.txt", "ends in"), (tmp_path / "none" / "recall.svg", "no folder")):
        with pytest.raises(EvaluationError, match=said):
            check_plot(path)
