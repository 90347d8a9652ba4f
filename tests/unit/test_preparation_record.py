import os
from pathlib import Path

import pytest

from api.preparation_record import RECORD_FILE, PreparationRecord, source_digest
from shared.settings import Settings
from tests.corpora import pack_corpus, unit_vectors, write_plain_corpus
from tests.embedding_fakes import wait_until

RECORD = PreparationRecord(source="s", namespace="n", dimension=8, snapshot="0" * 64)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_plain_corpus(tmp_path / "corpus")


def digest(corpus: Path, embeddings: Path | None = None, **settings: object) -> str | None:
    return source_digest(Settings(**settings), corpus, embeddings)  # type: ignore[arg-type]


def test_an_unchanged_source_has_the_same_digest(corpus: Path, tmp_path: Path) -> None:
    archive = pack_corpus(corpus, tmp_path / "premises.tar.gz")
    assert digest(corpus) is not None
    assert digest(corpus) == digest(corpus)
    assert digest(archive) == digest(archive) != digest(corpus)


@pytest.mark.parametrize("name", ["revision", "Modules.jsonl", "HammerBlacklist.jsonl", "Declarations/A.jsonl"])
def test_every_file_of_a_corpus_counts(corpus: Path, name: str) -> None:
    before = digest(corpus)
    with (corpus / name).open("ab") as file:
        file.write(b" ")
    assert digest(corpus) != before


def test_a_new_file_counts(corpus: Path) -> None:
    before = digest(corpus)
    (corpus / "Declarations" / "B.jsonl").write_bytes(b"")
    assert digest(corpus) != before


def test_a_removed_file_counts(corpus: Path) -> None:
    before = digest(corpus)
    (corpus / "Declarations" / "A.jsonl").unlink()
    assert digest(corpus) != before


def test_a_change_counts_that_keeps_size_and_time(corpus: Path) -> None:
    path = corpus / "Declarations" / "A.jsonl"
    before, stat = digest(corpus), path.stat()

    def is_changed() -> bool:
        """False while the clock of the file system has not moved on."""
        path.write_bytes(path.read_bytes().replace(b"A.t0", b"A.u0"))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return path.stat().st_ctime_ns != stat.st_ctime_ns

    wait_until(is_changed)
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (stat.st_mtime_ns, stat.st_size)
    assert digest(corpus) != before


def test_embeddings_and_what_is_written_beside_them_count(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "given.npy"
    path.write_bytes(unit_vectors(3).tobytes())
    alone = digest(corpus, path)
    path.with_suffix(".json").write_text("{}")
    described = digest(corpus, path)
    path.write_bytes(b"other")
    assert len({digest(corpus), alone, described, digest(corpus, path)}) == 4


def test_the_settings_that_matter_count(corpus: Path) -> None:
    others = [digest(corpus, model_id="other"), digest(corpus, corpus_on_broken_line="skip-rest")]
    assert len({digest(corpus), *others}) == 3
    assert digest(corpus, max_k=7) == digest(corpus)


def test_what_cannot_be_looked_at_has_no_digest(tmp_path: Path) -> None:
    assert digest(tmp_path / "nowhere") is None
    assert digest(tmp_path) is None


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    assert PreparationRecord.read(tmp_path) == RECORD


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"source": "s"}', b'{"other": 1}'])
def test_what_is_no_record_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECORD_FILE).write_bytes(content)
    assert PreparationRecord.read(tmp_path) is None


def test_without_a_record_there_is_none(tmp_path: Path) -> None:
    assert PreparationRecord.read(tmp_path) is None


def test_a_snapshot_that_is_gone_is_not_found(tmp_path: Path) -> None:
    assert RECORD.find_snapshot(tmp_path) is None
