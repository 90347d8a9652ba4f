"""Writes small corpora in the production format, and vectors for them."""

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

Declaration = dict[str, object]

REVISION = "v4.0.0"


def declaration(name: str, **fields: object) -> Declaration:
    """One line of a declarations file: a theorem `name : True`, save what `fields` say."""
    usual: Declaration = {
        "name": name,
        "kind": "theorem",
        "args": [],
        "type": "True",
        "doc": None,
        "line": 1,
        "column": 0,
        "inModuleSystem": False,
        "isExposed": False,
    }
    return usual | fields


def write_corpus(
    folder: Path,
    declarations: Mapping[str, Sequence[Declaration]],
    *,
    revision: str = REVISION,
    denied_names: Sequence[str] = (),
    empty_modules: Sequence[str] = (),
) -> Path:
    """Write a corpus folder; `declarations` is by module, and every module is listed."""
    (folder / "Declarations").mkdir(parents=True)
    (folder / "revision").write_text(f"{revision}\n")
    (folder / "HammerBlacklist.jsonl").write_bytes(orjson.dumps({"hammerBlacklist": list(denied_names)}))
    modules = [{"name": name} for name in (*declarations, *empty_modules)]
    (folder / "Modules.jsonl").write_bytes(as_lines(modules))
    for module, lines in declarations.items():
        (folder / "Declarations" / f"{module}.jsonl").write_bytes(as_lines(lines))
    return folder


def write_plain_corpus(folder: Path, count: int = 3, *, revision: str = REVISION) -> Path:
    """A corpus of one module `A` with theorems `A.t0`, `A.t1`, …"""
    return write_corpus(folder, {"A": [declaration(f"A.t{number}") for number in range(count)]}, revision=revision)


def pack_corpus(folder: Path, archive: Path, *, top_folder: str = ".") -> Path:
    """Pack a corpus folder into a `premises.tar.gz`."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=top_folder)
    return archive


def unit_vectors(rows: int, dimension: int = 8, *, seed: int = 0) -> NDArray[np.float32]:
    """Seeded random vectors of length 1, shape (rows, dimension)."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def as_lines(objects: Sequence[Mapping[str, object]]) -> bytes:
    """JSON objects, one a line."""
    return b"".join(orjson.dumps(line) + b"\n" for line in objects)
