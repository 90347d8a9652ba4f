"""What an API process costs: seconds until it is ready, and memory, for the first one of a host and for the second."""

from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from shared.corpus import Corpus
from tests.benchmarks.comparison import Comparison
from tests.benchmarks.measured_api import Backend, MeasuredApi, retrieval, running_backend, running_measured_api

DIMENSION = 768
QUERIES = 100


@dataclass(frozen=True, slots=True)
class ApiProcessRow:
    """One API process over a prepared corpus, page cache warm."""

    process: str
    """`first` or `second` on the host."""
    premises: int
    snapshot_seconds: float
    """What it took to write the snapshot that both map, once; not part of a start."""
    ready_seconds: float
    """From launch to `/health/ready`."""
    added_bytes: int
    """By how much the PSS of all API processes grew through this one, after its queries."""
    private_bytes: int
    """Memory that only this process maps, at the end."""
    share_of_first: float
    """`added_bytes` as a part of the first process's."""


def measure_api_processes(corpus: Corpus, folder: Path, *, dimension: int = DIMENSION) -> list[ApiProcessRow]:
    """Start one API process, then a second, over the same snapshot; each answers cached queries over all premises."""
    with running_backend(folder, corpus, dimension=dimension, goals=QUERIES) as backend:
        with running_measured_api(backend, "warm-up"):
            pass  # bytecode and page cache
        with running_measured_api(backend, "first") as first:
            send_queries(first, backend)
            alone = first.proportional_bytes()
            with running_measured_api(backend, "second") as second:
                send_queries(second, backend)
                added = first.proportional_bytes() + second.proportional_bytes() - alone
                about = (len(corpus.premises), backend.snapshot_seconds)
                return [
                    ApiProcessRow("first", *about, first.ready_seconds, alone, first.private_bytes(), 1.0),
                    ApiProcessRow("second", *about, second.ready_seconds, added, second.private_bytes(), added / alone),
                ]


def send_queries(api: MeasuredApi, backend: Backend) -> None:
    """Ask for the premises of every cached goal, with the whole corpus visible."""
    connection = HTTPConnection("127.0.0.1", api.port, timeout=60)
    for goal in backend.goals:
        connection.request("POST", "/retrieve", retrieval(goal))
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read()
    connection.close()


def compare_processes(corpus: Corpus, folder: Path) -> Iterator[Comparison]:
    """The rows as figures of a report."""
    first, second = measure_api_processes(corpus, folder)
    what = f"{first.premises:,} premises × {DIMENSION}"
    section = "API processes"
    yield Comparison(section=section, what=f"{what}: writing the snapshot", ours=first.snapshot_seconds, unit="s")
    for row in (first, second):
        which = f"{what}: {row.process} process, launch to ready"
        yield Comparison(section=section, what=which, ours=row.ready_seconds, unit="s", target=3)
    yield Comparison(section=section, what="first process, PSS after its queries", ours=mebibytes(first), unit="MiB")
    yield Comparison(section=section, what="what a second one adds", ours=mebibytes(second), unit="MiB")
    share = second.share_of_first
    yield Comparison(section=section, what="the same, as a share of the first", ours=share, unit="", target=0.25)


def mebibytes(row: ApiProcessRow) -> float:
    """Memory that a process added."""
    return row.added_bytes / 2**20
