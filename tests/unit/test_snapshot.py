import gc
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import orjson
import pytest

from api.given_embeddings import load_embeddings
from api.snapshot import FORMAT_VERSION, Snapshot, current_snapshot, open_snapshot, snapshot_held
from api.snapshot_writer import prune_snapshots, publish_snapshot, write_snapshot
from api.statement_table import write_statements
from shared.archive import unpack_corpus
from shared.corpus import Corpus, read_corpus
from shared.errors import CorpusError, NotReadyError
from tests.corpora import declaration, unit_vectors, write_corpus
from tests.golden import require_shared_data

DIMENSION = 8


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    lines = {
        "B.C": [
            declaration("B.«x y».z", inModuleSystem=True, isExposed=True),
            declaration("dropped", type="Lean.Name"),
            declaration("∀λ", kind="def", inModuleSystem=True),
        ],
        "A": [declaration("A.one", kind="def"), declaration("A.one")],
    }
    return read_corpus(write_corpus(tmp_path / "corpus", lines, empty_modules=["Empty"]))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


def write(corpus: Corpus, data_dir: Path, *, seed: int = 0) -> Path:
    vectors = unit_vectors(len(corpus.premises), DIMENSION, seed=seed)
    return write_snapshot(corpus, vectors, data_dir=data_dir, model="m", namespace=None)


def test_a_snapshot_holds_what_the_corpus_does(corpus: Corpus, data_dir: Path) -> None:
    snapshot = open_snapshot(write(corpus, data_dir))
    assert snapshot.modules == ["A", "B.C", "Empty"]
    assert snapshot.module_of_row.tolist() == [0, 1, 1]
    assert snapshot.is_theorem.tolist() == [False, True, False]
    assert snapshot.in_module_system.tolist() == [False, True, True]
    assert snapshot.is_exposed.tolist() == [False, True, False]
    assert snapshot.row_of_unfiltered.tolist() == corpus.row_of_unfiltered.tolist() == [0, 0, 1, -1, 2]
    assert orjson.loads(snapshot.indexed_premises.plain.content) == corpus.unfiltered_names
    assert orjson.loads(snapshot.indexed_modules.plain.content) == corpus.modules


def test_a_manifest_says_what_the_snapshot_is_of(corpus: Corpus, data_dir: Path) -> None:
    vectors = unit_vectors(3, DIMENSION)
    folder = write_snapshot(corpus, vectors, data_dir=data_dir, model="org/model", namespace="space")
    manifest = open_snapshot(folder).manifest
    assert folder == data_dir / "snapshots" / manifest.digest
    assert (manifest.rows, manifest.dimension, manifest.unfiltered_rows, manifest.modules) == (3, DIMENSION, 5, 3)
    assert (manifest.model, manifest.namespace, manifest.revision) == ("org/model", "space", "v4.0.0")
    assert manifest.corpus_digest == corpus.digest


def test_names_and_rows_find_each_other(corpus: Corpus, data_dir: Path) -> None:
    snapshot = open_snapshot(write(corpus, data_dir))
    names = ["∀λ", "nobody", "A.one", "dropped", "", "B.«x y».z", "∀λ"]
    assert snapshot.find_rows(names).tolist() == [2, -1, 0, -1, -1, 1, 2]
    assert snapshot.names(np.array([2, 0])) == ["∀λ", "A.one"]
    assert snapshot.name(1) == "B.«x y».z"


def test_statements_are_found_by_row(corpus: Corpus, data_dir: Path) -> None:
    snapshot = open_snapshot(write(corpus, data_dir))
    found = snapshot.statements(np.array([2, 0]))
    assert [(statement.kind, statement.signature) for statement in found] == [("def", ": True"), ("def", ": True")]
    assert snapshot.statements(np.array([1]))[0].kind == "theorem"


def test_statements_of_other_rows_are_refused(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    write_statements(folder, corpus.premises[:2])
    manifest["files"] |= {name: (folder / name).stat().st_size for name in ("statements.txt", "statement-starts.npy")}
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(CorpusError, match=r"damaged \(statements\.txt\)"):
        open_snapshot(folder)


def test_modules_are_found_by_name(corpus: Corpus, data_dir: Path) -> None:
    snapshot = open_snapshot(write(corpus, data_dir))
    assert [snapshot.find_module(name) for name in ("B.C", "B", "Empty")] == [1, -1, 2]


def test_the_index_holds_the_vectors_in_row_order(corpus: Corpus, data_dir: Path) -> None:
    snapshot = open_snapshot(write(corpus, data_dir, seed=5))
    index = faiss.read_index(str(snapshot.index_path), faiss.IO_FLAG_MMAP_IFC)
    assert np.array_equal(index.reconstruct_n(0, 3), unit_vectors(3, DIMENSION, seed=5))


def test_vectors_in_a_file_make_the_same_snapshot_as_in_memory(corpus: Corpus, data_dir: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3, DIMENSION))
    mapped = load_embeddings(tmp_path / "v.npy", rows=3, dimension=DIMENSION)
    assert isinstance(mapped.base, np.memmap)
    folder = write_snapshot(corpus, mapped, data_dir=data_dir, model="m", namespace=None)
    assert folder == write(corpus, data_dir)


def test_vectors_that_do_not_fit_make_no_snapshot(corpus: Corpus, data_dir: Path) -> None:
    with pytest.raises(CorpusError, match=r"3 premises but vectors of shape \(2, 8\)"):
        write_snapshot(corpus, unit_vectors(2, DIMENSION), data_dir=data_dir, model="m", namespace=None)


def test_the_same_content_is_written_once(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    written = (folder / "manifest.json").stat().st_ino
    assert write(corpus, data_dir) == folder
    assert (folder / "manifest.json").stat().st_ino == written


def test_other_content_gets_another_folder(corpus: Corpus, data_dir: Path) -> None:
    vectors = unit_vectors(3, DIMENSION)
    folders = {
        write(corpus, data_dir),
        write(corpus, data_dir, seed=1),
        write(replace(corpus, digest="0" * 64), data_dir),
        write_snapshot(corpus, vectors, data_dir=data_dir, model="other", namespace=None),
        write_snapshot(corpus, vectors, data_dir=data_dir, model="m", namespace="space"),
    }
    assert len(folders) == 5


def test_a_damaged_snapshot_is_refused_and_written_anew(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    (folder / "names.txt").write_bytes(b"cut")
    with pytest.raises(CorpusError, match=r"damaged \(names\.txt\).*premises prepare"):
        open_snapshot(folder)
    assert write(corpus, data_dir) == folder
    assert open_snapshot(folder).name(0) == "A.one"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format_version": %d}' % FORMAT_VERSION])
def test_a_damaged_manifest_is_named(corpus: Corpus, data_dir: Path, content: bytes) -> None:
    folder = write(corpus, data_dir)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(CorpusError, match=r"damaged \(manifest\.json\)"):
        open_snapshot(folder)


def test_a_snapshot_of_another_format_is_named(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    manifest = orjson.loads((folder / "manifest.json").read_bytes()) | {"format_version": 99}
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(CorpusError, match=f"has format 99, this server reads {FORMAT_VERSION}"):
        open_snapshot(folder)


def test_touching_reads_every_file(corpus: Corpus, data_dir: Path) -> None:
    open_snapshot(write(corpus, data_dir)).touch()


def test_the_published_snapshot_is_the_current_one(corpus: Corpus, data_dir: Path) -> None:
    assert current_snapshot(data_dir) is None
    for seed in range(2):
        folder = write(corpus, data_dir, seed=seed)
        publish_snapshot(data_dir, folder)
        assert current_snapshot(data_dir) == folder


def test_a_pointer_to_nothing_is_no_snapshot(corpus: Corpus, data_dir: Path) -> None:
    publish_snapshot(data_dir, write(corpus, data_dir))
    for digest in ("0" * 64, "../..", ""):
        (data_dir / "snapshots" / "current").write_text(digest)
        assert current_snapshot(data_dir) is None


def test_a_snapshot_that_is_gone_is_not_ready(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    prune_snapshots(data_dir, keep=[])
    with pytest.raises(NotReadyError, match="replaced by a newer one"):
        open_snapshot(folder)


def test_a_snapshot_of_a_missing_data_folder_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="prepare the corpus"):
        open_snapshot(tmp_path / "nowhere" / "0")


def test_pruning_leaves_what_is_kept_and_what_is_mapped(corpus: Corpus, data_dir: Path) -> None:
    kept, mapped, idle = (write(corpus, data_dir, seed=seed) for seed in range(3))
    reader: list[Snapshot] = [open_snapshot(mapped)]
    assert prune_snapshots(data_dir, keep=[kept]) == [idle]
    assert kept.is_dir()
    assert mapped.is_dir()
    reader.clear()
    gc.collect()
    assert prune_snapshots(data_dir, keep=[kept]) == [mapped]


def test_pruning_leaves_what_is_held_until_it_is_let_go(corpus: Corpus, data_dir: Path) -> None:
    held = write(corpus, data_dir)
    with snapshot_held(held):
        assert prune_snapshots(data_dir, keep=[]) == []
        assert open_snapshot(held).name(0) == "A.one"
    gc.collect()
    assert prune_snapshots(data_dir, keep=[]) == [held]


def test_a_mapped_snapshot_survives_its_removal(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    snapshot = open_snapshot(folder)
    for path in folder.iterdir():
        path.unlink()
    assert snapshot.find_rows(["∀λ"]).tolist() == [2]


def test_what_a_killed_writer_left_is_removed(corpus: Corpus, data_dir: Path) -> None:
    folder = write(corpus, data_dir)
    left = folder.with_name(f"{folder.name}.unfinished")
    folder.rename(left)
    assert write(corpus, data_dir) == folder
    assert not left.exists()


def test_real_corpus_and_embeddings_make_a_snapshot(tmp_path: Path, data_dir: Path) -> None:
    shared_data = require_shared_data()
    corpus = read_corpus(unpack_corpus(shared_data / "small-corpus.tar.gz", tmp_path / "real"))
    given_file = shared_data / "embeddings" / "small-all-MiniLM-L6-v2.npy"
    vectors = load_embeddings(given_file, rows=3482, dimension=384)
    snapshot = open_snapshot(write_snapshot(corpus, vectors, data_dir=data_dir, model="m", namespace=None))
    assert np.array_equal(snapshot.find_rows(corpus.unfiltered_names), corpus.row_of_unfiltered)
    assert snapshot.names(np.arange(3482)) == [premise.name for premise in corpus.premises]
    written = [
        f"{kept.kind} {premise.name} {kept.binders} : {kept.result_type}"
        for premise, kept in zip(corpus.premises, snapshot.statements(np.arange(3482)), strict=True)
    ]
    assert all(premise.text.endswith(text) for premise, text in zip(corpus.premises, written, strict=True))
