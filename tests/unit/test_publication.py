from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from tqdm import tqdm

from api.corpus_review.inspection import Inspection, inspect_corpus
from api.publishing.manifest import PublishedManifest
from api.publishing.packing import pack_corpus
from api.publishing.publication import GivenEmbeddings, Publication, PublishedCorpus, plan_publication
from shared.archive import read_folder_of_archive, unpack_corpus
from shared.corpus import read_corpus
from shared.errors import CorpusError
from tests.corpora import unit_vectors, write_plain_corpus


def pack(folder: Path, archive: Path) -> Path:
    pack_corpus(folder, archive, lambda: None)
    return archive


def plan(
    tmp_path: Path,
    *models: str,
    count: int = 3,
    present: tuple[str, ...] = (),
    earlier: PublishedManifest | None = None,
) -> Publication:
    """A publication of a corpus with `count` premises and embeddings by these models, all at v2."""
    folder, vectors = tmp_path / f"corpus-{count}", tmp_path / f"{count}.npy"
    if not folder.exists():
        write_plain_corpus(folder, count)
        np.save(vectors, unit_vectors(count))
    report = inspect_corpus(
        Inspection(
            named="c",
            folder=folder,
            embeddings=vectors,
            max_text_characters=1000,
            progress=lambda label, total, unit: tqdm(total=total, desc=label, unit=unit, disable=True),
        )
    )
    assert report.revision
    assert report.digest
    assert report.embeddings
    archive = pack(folder, tmp_path / "premises.tar.gz")
    corpus = PublishedCorpus(report.revision, report.digest, report.counts, archive)
    given = [GivenEmbeddings(report.embeddings, model, "v2") for model in models]
    return plan_publication(corpus, given, present=present, earlier=earlier)


def test_a_packed_corpus_is_read_as_the_folder_was(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    archive = pack(folder, tmp_path / "premises.tar.gz")
    assert read_corpus(unpack_corpus(archive, tmp_path / "unpacked")).digest == read_corpus(folder).digest


def test_the_same_files_give_the_same_archive_whatever_else_lies_beside_them(tmp_path: Path) -> None:
    one, other = write_plain_corpus(tmp_path / "one"), write_plain_corpus(tmp_path / "other")
    (other / "Declarations" / "A.jsonl").touch()
    (other / "Declarations" / "notes.txt").write_text("not of the corpus")
    (other / ".git").mkdir()
    assert pack(one, tmp_path / "1.tar.gz").read_bytes() == pack(other, tmp_path / "2.tar.gz").read_bytes()


def test_import_lists_are_packed_too(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    (folder / "Imports").mkdir()
    (folder / "Imports" / "A.jsonl").write_bytes(b'{"name":"A"}\n')
    archive = pack(folder, tmp_path / "premises.tar.gz")
    assert list(read_folder_of_archive(archive, "Imports")) == [("A.jsonl", b'{"name":"A"}\n')]


def test_the_files_lie_where_fetching_looks_for_them_and_the_manifest_describes_them(tmp_path: Path) -> None:
    publication = plan(tmp_path, "org/encoder")
    assert [file.path for file in publication.files] == [
        "premises.tar.gz",
        "embeddings/encoder-v2.npy",
        "embeddings/encoder-v2.json",
        "manifest.json",
    ]
    manifest = publication.manifest
    assert (manifest.revision, manifest.premises, manifest.declarations, manifest.modules) == ("v4.0.0", 3, 3, 1)
    assert sorted(file.path for file in manifest.files) == sorted(file.path for file in publication.files[:-1])
    (entry,) = manifest.embeddings
    assert (entry.model, entry.model_revision, entry.rows, entry.dimension) == ("org/encoder", "v2", 3, 8)


def test_what_lies_beside_embeddings_names_their_corpus(tmp_path: Path) -> None:
    publication = plan(tmp_path, "org/encoder")
    beside = next(file.content for file in publication.files if file.path.endswith("v2.json"))
    assert isinstance(beside, bytes)
    assert orjson.loads(beside)["corpus_digest"] == publication.manifest.corpus_digest


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = plan(tmp_path, "org/encoder").manifest
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.as_bytes())
    assert PublishedManifest.read(path) == manifest


@pytest.mark.parametrize("content", [b"{}", b"[", b"null"])
def test_what_is_no_manifest_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="is no manifest"):
        PublishedManifest.read(path)


def test_a_manifest_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(replace(plan(tmp_path).manifest, format_version=2).as_bytes())
    with pytest.raises(CorpusError, match="has the format 2"):
        PublishedManifest.read(path)


def test_embeddings_of_the_same_corpus_by_another_model_stay_and_stay_described(tmp_path: Path) -> None:
    first = plan(tmp_path, "org/one")
    present = tuple(file.path for file in first.files)
    second = plan(tmp_path, "org/two", present=present, earlier=first.manifest)
    assert second.removed == []
    assert [entry.model for entry in second.manifest.embeddings] == ["org/one", "org/two"]
    assert second.manifest.find_file("embeddings/one-v2.npy") == first.manifest.find_file("embeddings/one-v2.npy")
    assert not any(file.path.startswith("embeddings/one") for file in second.files)


def test_embeddings_of_another_corpus_go_since_they_would_be_taken_for_this_ones(tmp_path: Path) -> None:
    first = plan(tmp_path, "org/one", count=2)
    present = ("README.md", *(file.path for file in first.files))
    second = plan(tmp_path, "org/two", count=3, present=present, earlier=first.manifest)
    assert second.removed == ["embeddings/one-v2.json", "embeddings/one-v2.npy"]
    assert [entry.model for entry in second.manifest.embeddings] == ["org/two"]


def test_embeddings_that_no_manifest_speaks_of_go(tmp_path: Path) -> None:
    present = ("premises.tar.gz", "embeddings/old-v1.npy")
    assert plan(tmp_path, present=present).removed == ["embeddings/old-v1.npy"]


def test_a_repetition_has_the_manifest_of_the_first_time(tmp_path: Path) -> None:
    first = replace(plan(tmp_path, "org/one").manifest, published_at="2020-01-01T00:00:00+00:00")
    present = (*(file.path for file in first.files), "manifest.json")
    assert plan(tmp_path, "org/one", present=present, earlier=first).manifest == first
