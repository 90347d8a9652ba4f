"""All benchmarks, or some of them, each in a process of its own; `make bench` runs this.

    python -m tests.benchmarks [--data FOLDER] [--minilm VECTORS] [--write] [SECTION ...]

Without sections all run and docs/performance.md is written; with some, their figures are printed alone, and with
--write their tables are put in the place of the ones before.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import orjson

from shared.archive import unpack_corpus
from shared.corpus import Corpus, read_corpus
from tests.benchmarks.comparison import Comparison

ROOT = Path(__file__).parents[2]
CORPUS_ARCHIVE = "mathlib-corpus.tar.gz"

Section = Callable[[Path | None, Path], Iterator[Comparison]]


def search(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """Selection and search over a corpus of Mathlib's size."""
    from tests.benchmarks.search import measure_search

    return measure_search(archive, folder)


def processes(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """Start and memory of API processes over a corpus of Mathlib's size."""
    from tests.benchmarks.api_process import compare_processes

    return compare_processes(corpus_to_serve(archive, folder), folder)


def overhead(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """CPU time of requests that need no embedding."""
    from tests.benchmarks.api_overhead import compare_overhead

    del archive
    return compare_overhead(folder)


def embedding(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """The forward on the CPU beside sentence-transformers."""
    from tests.benchmarks.embedding import measure_embedding

    return measure_embedding(unpacked(archive, folder), folder)


def system(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """The whole server."""
    from tests.benchmarks.whole_system import measure_system

    return measure_system(unpacked(archive, folder), folder)


def infinity(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """The embeddings API beside another server of embeddings."""
    from tests.benchmarks.infinity import measure_infinity

    return measure_infinity(unpacked(archive, folder), folder)


def overload(archive: Path | None, folder: Path) -> Iterator[Comparison]:
    """Ten times more work than the worker can do."""
    from tests.benchmarks.overload import measure_overload

    del archive
    return measure_overload(folder)


SECTIONS: dict[str, Section] = {
    "search": search,
    "processes": processes,
    "overhead": overhead,
    "embedding": embedding,
    "system": system,
    "infinity": infinity,
    "overload": overload,
}


def unpacked(archive: Path | None, folder: Path) -> Path | None:
    """The corpus folder of an archive."""
    return None if archive is None else unpack_corpus(archive, folder / "unpacked")


def corpus_to_serve(archive: Path | None, folder: Path) -> Corpus:
    """The archive's corpus; without one, made-up names of Mathlib's number."""
    from tests.benchmarks.synthetic_corpus import synthetic_corpus

    found = unpacked(archive, folder)
    return synthetic_corpus() if found is None else read_corpus(found)


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help=f"folder with {CORPUS_ARCHIVE}; without it, made-up names"
)
@click.option(
    "--minilm", type=click.Path(exists=True, path_type=Path), help="float32 .npy: exactness on real vectors too"
)
@click.option("--write", is_flag=True, help="put the tables of these sections into docs/performance.md")
@click.option("--into", type=click.Path(path_type=Path), hidden=True)
@click.argument("sections", nargs=-1, type=click.Choice([*SECTIONS, "real-vectors"]))
def main(data: Path | None, minilm: Path | None, into: Path | None, sections: tuple[str, ...], *, write: bool) -> None:
    """Measure, print, and write the report when everything was measured."""
    archive = data / CORPUS_ARCHIVE if data else None
    if archive is not None and not archive.is_file():
        raise click.UsageError(
            f"{archive} is not there: give --data the folder that holds {CORPUS_ARCHIVE}, or leave it."
        )
    if into is not None:
        run_section(sections[0], archive, minilm, into)
        return
    started = time.perf_counter()
    wanted = sections or (*SECTIONS, *(["real-vectors"] if minilm else []))
    comparisons = [line for section in wanted for line in in_own_process(section, data, minilm)]
    if write or not sections:
        from tests.benchmarks.report import write_report, write_sections

        put = write_sections if sections else write_report
        put(comparisons, ROOT / "docs" / "performance.md", time.perf_counter() - started)
        click.echo("wrote docs/performance.md" if sections else "wrote docs/performance.md and docs/performance.svg")


def in_own_process(section: str, data: Path | None, minilm: Path | None) -> list[Comparison]:
    """Measure a section without the memory and threads that another one left; its lines are shown as they come."""
    click.echo(f"== {section}", err=True)
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "lines.jsonl"
        command = [sys.executable, "-m", "tests.benchmarks", "--into", str(into), section]
        command += ["--data", str(data)] if data else []
        command += ["--minilm", str(minilm)] if minilm else []
        # As in a worker: threads that wait for one another sleep, so that other work on the machine costs them little.
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"})
        return [Comparison(**orjson.loads(line)) for line in into.read_bytes().splitlines()]


def run_section(section: str, archive: Path | None, minilm: Path | None, into: Path) -> None:
    """Measure one section here, a line of JSON for each figure."""
    with tempfile.TemporaryDirectory() as folder, into.open("wb") as file:
        found = (
            real_vectors(minilm, Path(folder))
            if section == "real-vectors"
            else SECTIONS[section](archive, Path(folder))
        )
        for line in found:
            click.echo(describe(line))
            file.write(orjson.dumps(asdict(line)) + b"\n")
            file.flush()


def real_vectors(minilm: Path | None, folder: Path) -> Iterator[Comparison]:
    """Exactness over a corpus that a real model embedded."""
    from tests.benchmarks.exactness import check_file

    if minilm is None:
        raise click.UsageError("real-vectors needs --minilm with the vectors of a corpus")
    return check_file(np.load(minilm, mmap_mode="r"), folder)


def describe(line: Comparison) -> str:
    """One figure for the terminal."""
    shown = f"{line.what}: {line.ours:,.4g} {line.unit}"
    if line.ratio is not None:
        shown += f", {line.ratio:.2f} times {line.alternative}"
    if line.reached is not None:
        shown += f" (target {line.target:,.4g} {'reached' if line.reached else 'MISSED'})"
    return shown


if __name__ == "__main__":
    main()
