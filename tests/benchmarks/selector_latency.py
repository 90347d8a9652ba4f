"""What `SELECTOR=hybrid` takes beside `dense`, request by request, over a prepared corpus.

    python -m tests.benchmarks.selector_latency DATA_DIR CORPUS EVALUATION

DATA_DIR has the snapshot of CORPUS, an unpacked folder with its Imports.  Goals and lists are those of EVALUATION's
queries; the goal's vector is that of the theorem itself, so that no model is needed.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from api.accessibility import Accessibility
from api.evaluation.accessible_premises import PlacedCorpus, PlacedQuery
from api.evaluation.evaluation_set import EvaluationSet
from api.index_list import IndexList
from api.premise_index import PremiseIndex
from api.schemas import NewPremise
from api.selector import Question
from api.selectors import Selectors, make_selectors
from api.snapshot import Snapshot, current_snapshot, open_snapshot
from shared.corpus import read_corpus

Vectors = NDArray[np.float32]

K = 100
WARM_UP = 20
MOST_NEW = 2048


class Stopwatch:
    """Milliseconds by stage: on the wall's clock, and of this thread's work, which a busy machine does not lengthen."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        started, work_started = time.perf_counter(), time.thread_time()
        yield
        self.milliseconds[f"{stage}, work"].append((time.thread_time() - work_started) * 1000)
        self.milliseconds[stage].append((time.perf_counter() - started) * 1000)


def show(name: str, milliseconds: list[float]) -> None:
    ordered = sorted(milliseconds)
    p50, p95 = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
    print(f"{name:24s} p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   ({len(ordered)} requests)", flush=True)


def list_questions(
    snapshot: Snapshot, placed: PlacedCorpus, evaluation: EvaluationSet, vectors: Vectors, count: int
) -> Iterator[Question]:
    """Questions of queries whose theorem is in the corpus."""
    accessibility = Accessibility(snapshot)
    chosen = np.random.default_rng(0).permutation(len(evaluation.queries))[:count]
    for query in (placed.place(evaluation.queries[place]) for place in chosen.tolist()):
        if not isinstance(query, PlacedQuery):
            continue
        [row] = snapshot.find_rows([query.query.decl_name]).tolist()
        if row >= 0:
            selection = accessibility.select(
                imported_modules=IndexList.of(query.accessible.imported_modules.tolist()),
                local_premises=IndexList.of(query.accessible.local_premises.tolist()),
            )
            vector = np.array(vectors[row : row + 1])
            yield Question([query.query.state], vector, selection, [], np.array(vectors[:0]), K)


def compare(selectors: Selectors, questions: Sequence[Question]) -> None:
    """Ask each question both ways, in turns."""
    watches = {"dense": Stopwatch(), "hybrid": Stopwatch()}
    for number, question in enumerate(questions):
        for name in ("dense", "hybrid") if number % 2 else ("hybrid", "dense"):
            with watches[name].timing("total"):
                selectors.find(name).rank(question, watches[name])
        if number == WARM_UP:  # files are mapped and read by now
            for watch in watches.values():
                watch.milliseconds.clear()
    for name, watch in watches.items():
        for stage, milliseconds in watch.milliseconds.items():
            show(f"{name} {stage}", milliseconds)
    hybrid, dense = (watches[name].milliseconds["total"] for name in ("hybrid", "dense"))
    show("hybrid less dense", [more - less for more, less in zip(hybrid, dense, strict=True)])


def compare_with_new_premises(selectors: Selectors, snapshot: Snapshot, question: Question, vectors: Vectors) -> None:
    """The same question with as many new premises as a request may have."""
    rows = np.arange(MOST_NEW)
    signatures = [statement.signature for statement in snapshot.statements(rows)]
    named = [f"{name}'" for name in snapshot.names(rows)]
    new = [
        NewPremise(name=name, decl=f"theorem {name} {signature}")
        for name, signature in zip(named, signatures, strict=True)
    ]
    asked = replace(question, new_premises=new, new_vectors=np.array(vectors[:MOST_NEW]))
    for name, times in (("hybrid", 1), ("hybrid", 9), ("dense", 9)):
        watch = Stopwatch()
        for _ in range(times):
            with watch.timing("total"):
                selectors.find(name).rank(asked, watch)
        show(f"{name}, {MOST_NEW} new, {'first' if times == 1 else 'again'}", watch.milliseconds["total"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder = current_snapshot(options.data_dir)
    if folder is None:
        parser.error(f"{options.data_dir} has no prepared corpus")
    snapshot = open_snapshot(folder)
    index = PremiseIndex.open(snapshot.index_path, threads=options.threads)
    index.touch()
    selectors = make_selectors(snapshot, index, default="hybrid")
    vectors = faiss.rev_swig_ptr(index.flat.get_xb(), index.rows * index.dimension).reshape(index.rows, -1)
    placed = PlacedCorpus.read(options.corpus, options.corpus, read_corpus(options.corpus))
    evaluation = EvaluationSet.read(options.evaluation)
    questions = [*list_questions(snapshot, placed, evaluation, vectors, options.requests + WARM_UP)]
    compare(selectors, questions)
    compare_with_new_premises(selectors, snapshot, questions[-1], vectors)


if __name__ == "__main__":
    main()
