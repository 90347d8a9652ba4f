"""Selection and search over a corpus of Mathlib's size, beside the way of the server that this one replaces."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import faiss
import numpy as np
import orjson

from api.accessibility import Accessibility, Selection
from api.index_list import IndexList
from api.metrics import Metrics
from api.premise_index import Hits, PremiseIndex
from api.quantized_rows import QuantizedRows, write_quantized
from api.scan_trial import try_scan
from api.schemas import parse_retrieve_request
from api.service import available_cores
from api.shared_scan import SharedScan
from tests.benchmarks.comparison import Comparison, medians
from tests.benchmarks.exactness import check_exactness
from tests.benchmarks.replaced_way import ListedRequest, ReplacedWay
from tests.benchmarks.synthetic_corpus import NamedRows, Vectors, clustered_vectors, named_rows, queries_near

SHARES, PLACES = (0.95, 0.5, 0.05), (32, 1024)
TARGETS = {(0.95, 32): 15, (0.95, 1024): 10, (0.5, 32): 10, (0.5, 1024): 10, (0.05, 32): 7, (0.05, 1024): 5.5}
ROUNDS = 9
CONCURRENT = 16
LOCAL_PREMISES = 250_000
SECTION = "Search"


@dataclass(frozen=True, eq=False)
class Bench:
    """One corpus, its vectors, and both ways to search them."""

    corpus: NamedRows
    vectors: Vectors
    queries: Vectors
    rows: QuantizedRows
    index: PremiseIndex
    accessibility: Accessibility
    replaced: ReplacedWay
    metrics: Metrics

    @classmethod
    def make(cls, archive: Path | None, folder: Path) -> "Bench":
        """Write an index into `folder`, map it, and fill the replaced way's."""
        corpus = named_rows(archive, folder)
        vectors = clustered_vectors(len(corpus.all_names))
        replaced, metrics = ReplacedWay(corpus, vectors), Metrics()
        faiss.write_index(replaced.index, str(folder / "vectors.faiss"))
        write_quantized(folder, vectors)
        index = PremiseIndex.open(folder / "vectors.faiss", threads=available_cores(), metrics=metrics.search)
        index.touch()
        rows, queries = QuantizedRows.open(folder, *vectors.shape), queries_near(vectors, 1000)
        return cls(corpus, vectors, queries, rows, index, Accessibility(corpus), replaced, metrics)

    def select(self, modules: list[int]) -> Selection:
        """Our selection of some modules."""
        return self.accessibility.select(imported_modules=IndexList.of(modules), local_premises=IndexList.of([]))


def measure_search(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """All comparisons of this file; about 5 GB of memory, some minutes."""
    bench = Bench.make(archive, folder)
    for share in SHARES:
        for k in PLACES:
            yield compare_with_replaced(bench, share, k)
    yield repeated_selection(bench)
    yield from long_list(bench)
    yield from concurrent_searches(bench)
    yield from check_exactness(bench.index, bench.vectors, bench.queries, bench.metrics, "synthetic vectors")


def compare_with_replaced(bench: Bench, share: float, k: int) -> Comparison:
    """Selection and search of one query by both; our selection is built anew each time."""
    text = orjson.dumps(bench.corpus.visible_modules(share, seed=int(100 * share)))
    modules, nothing = orjson.loads(text), IndexList.of([])
    forgetful = Accessibility(bench.corpus, remembered_selections=0)
    turn = iter(range(10**6))

    def ours() -> list[Hits]:
        listed = IndexList.of_plain_integers(text)
        selection = forgetful.select(imported_modules=listed, local_premises=nothing)
        query = next(turn) % len(bench.queries)
        return bench.index.search(bench.queries[query : query + 1], selection, k)

    def theirs() -> object:
        query = bench.queries[next(turn) % len(bench.queries)]
        return bench.replaced.search(query, bench.replaced.select(modules, []), k)

    ours_seconds, their_seconds = medians([ours, theirs], ROUNDS)
    return Comparison(
        section=SECTION,
        what=f"selection and search, {share:.0%} visible, k = {k}",
        ours=1e3 * ours_seconds,
        unit="ms",
        theirs=1e3 * their_seconds,
        alternative="replaced server's way",
        ratio=their_seconds / ours_seconds,
        target=TARGETS[share, k],
    )


def repeated_selection(bench: Bench) -> Comparison:
    """A list of imports that was seen before."""
    text = orjson.dumps(bench.corpus.visible_modules(0.95, seed=95))

    def again() -> Selection:
        modules = IndexList.of_plain_integers(text)
        return bench.accessibility.select(imported_modules=modules, local_premises=IndexList.of([]))

    (seconds,) = medians([again], 200)
    what = "selection by a repeated import list"
    return Comparison(section=SECTION, what=what, ours=1e3 * seconds, unit="ms", target=0.1)


def long_list(bench: Bench) -> Iterator[Comparison]:
    """A request that names a quarter of a million premises by position."""
    rng = np.random.default_rng(3)
    rows = len(bench.corpus.all_names)
    local = np.sort(rng.choice(rows, min(LOCAL_PREMISES, rows * 2 // 3), replace=False)).tolist()
    request = {"state": "⊢", "imported_modules": [], "k": 32}
    bodies = iter([orjson.dumps(request | {"local_premises": local[number:]}) for number in range(64)])
    query = bench.queries[:1]

    def read_ours() -> Selection:
        request = parse_retrieve_request(next(bodies), max_states=64)
        return bench.accessibility.select(
            imported_modules=request.imported_modules, local_premises=request.local_premises
        )

    def read_with_pydantic() -> set[str]:
        request = ListedRequest.model_validate_json(next(bodies))
        return bench.replaced.select(request.imported_modules or [], request.local_premises or [])

    def answer_ours() -> bytes:
        (hits,) = bench.index.search(query, read_ours(), 32)
        names = bench.corpus.names(hits.rows)
        return orjson.dumps(
            [{"score": score, "name": name} for score, name in zip(hits.scores.tolist(), names, strict=True)]
        )

    def answer_theirs() -> bytes:
        return orjson.dumps(bench.replaced.search(query[0], read_with_pydantic(), 32))

    for what, ours, theirs, target in (
        ("read and select", read_ours, read_with_pydantic, None),
        ("read, select, search and answer", answer_ours, answer_theirs, 5),
    ):
        ours_seconds, their_seconds = medians([ours, theirs], 7)
        yield Comparison(
            section=SECTION,
            what=f"{len(local):,} local premises, never seen before: {what}",
            ours=1e3 * ours_seconds,
            unit="ms",
            theirs=1e3 * their_seconds,
            alternative="pydantic's list[str | int], sets of names",
            ratio=their_seconds / ours_seconds,
            target=target,
        )


def concurrent_searches(bench: Bench) -> Iterator[Comparison]:
    """Sixteen requests at once, each with its own selection of nearly everything."""
    selections = [bench.select(bench.corpus.visible_modules(0.95, seed)) for seed in range(CONCURRENT)]
    flat = PremiseIndex(bench.index.flat)
    free = SimpleQueue[PremiseIndex]()
    alone = try_scan(bench.rows, bench.index.flat, threads=1)
    assert alone is not None
    for _ in range(available_cores()):
        free.put(PremiseIndex(bench.index.flat, SharedScan(alone, most_queries=1)))
    with ThreadPoolExecutor(CONCURRENT) as many, ThreadPoolExecutor(available_cores()) as cores:

        def search(index: PremiseIndex, number: int) -> list[Hits]:
            return index.search(bench.queries[number : number + 1], selections[number], 32)

        def shared() -> object:
            return list(many.map(lambda number: search(bench.index, number), range(CONCURRENT)))

        def search_alone(number: int) -> list[Hits]:
            index = free.get()
            hits = search(index, number)
            free.put(index)
            return hits

        def pooled() -> object:
            return list(cores.map(search_alone, range(CONCURRENT)))

        def sequential() -> object:
            return [search(flat, number) for number in range(CONCURRENT)]

        ours, pool, one_by_one = medians([shared, pooled, sequential], 5)
    for alternative, theirs, target in (
        ("one after the other, flat with a bitmap", one_by_one, 3),
        (f"{available_cores()} threads of two-stage searches", pool, 1),
    ):
        yield Comparison(
            section=SECTION,
            what=f"{CONCURRENT} searches at once, 95% visible, k = 32",
            ours=CONCURRENT / ours,
            unit="searches/s",
            theirs=CONCURRENT / theirs,
            alternative=alternative,
            ratio=theirs / ours,
            target=target,
        )
