"""Vectors known from corpora: for the very same text in the very same namespace alone, and never what is no vector."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from api.given_embeddings import EmbeddingsOrigin
from api.known_folders import KnownFolders
from api.snapshot import INDEX_FILE
from api.snapshot_writer import write_snapshot
from api.vector_cache import VectorCache
from api.vector_folder import VectorFolder
from shared.corpus import read_corpus
from shared.embedding_cache import CachedVector, VectorCodec, text_key
from shared.errors import NotReadyError
from shared.redis_client import async_redis
from tests.corpora import unit_vectors, write_plain_corpus

DIMENSION = 8
CODEC = VectorCodec("ns", DIMENSION)
HUGE_SHAPE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 8), }"
NOWHERE = "redis://127.0.0.1:1/0"


class Host:
    """A data folder and a cache whose Redis is away: what it finds it knows from corpora."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "state"
        self.corpus = read_corpus(write_plain_corpus(folder / "corpus", 200))
        self.texts = [premise.text for premise in self.corpus.premises]
        self.vectors = unit_vectors(200, DIMENSION)
        self.cache = VectorCache(async_redis(NOWHERE))
        self.folders = KnownFolders(self.data_dir, self.cache.known)

    def write_snapshot(self, namespace: str | None = "ns", *, seed: int = 0) -> Path:
        vectors = unit_vectors(200, DIMENSION, seed=seed)
        return write_snapshot(self.corpus, vectors, data_dir=self.data_dir, model="m", namespace=namespace)

    def write_folder(self, namespace: str = "ns") -> VectorFolder:
        folder = VectorFolder.of_corpus(self.data_dir, self.corpus.digest, namespace)
        folder.path.mkdir(parents=True)
        np.save(folder.vectors, self.vectors)
        folder.describe(self.texts, EmbeddingsOrigin(self.corpus.digest, self.corpus.revision, namespace))
        return folder

    def look(self) -> None:
        asyncio.run(self.folders.refresh())

    def fetch(self, *texts: str, codec: VectorCodec = CODEC, with_tokens: bool = False) -> dict[str, CachedVector]:
        keys = [text_key(text) for text in texts]
        return asyncio.run(self.cache.fetch(codec, keys, redis_is_away=True, with_tokens=with_tokens))

    def knows(self, *texts: str, codec: VectorCodec = CODEC) -> bool:
        try:
            return len(self.fetch(*texts, codec=codec)) == len(texts)
        except NotReadyError:
            return False


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("write", [Host.write_snapshot, Host.write_folder])
def test_every_text_of_a_corpus_is_found_without_redis(host: Host, write: Callable[[Host], object]) -> None:
    write(host)
    host.look()
    found = host.fetch(*host.texts)
    for text, vector in zip(host.texts, host.vectors, strict=True):
        np.testing.assert_array_equal(found[text_key(text)].vector, vector)
    assert host.cache.known_hits == host.cache.hits == 200


def test_a_text_that_differs_in_a_space_is_not_found(host: Host) -> None:
    host.write_snapshot()
    host.look()
    assert host.knows("theorem A.t1  : True")
    assert not host.knows("theorem A.t1 : True")


@pytest.mark.parametrize("namespace", ["other", None])
def test_vectors_of_another_namespace_or_of_none_are_not_used(host: Host, namespace: str | None) -> None:
    host.write_snapshot(namespace)
    host.look()
    assert not host.knows(host.texts[0])


def test_vectors_without_token_counts_do_not_do_where_those_are_wanted(host: Host) -> None:
    host.write_snapshot()
    host.look()
    with pytest.raises(NotReadyError):  # Redis is asked
        host.fetch(host.texts[0], with_tokens=True)


def test_a_corpus_that_comes_later_is_found_and_one_that_goes_is_forgotten(host: Host) -> None:
    host.look()
    assert not host.knows(host.texts[0])
    folder = host.write_folder()
    host.look()
    assert host.knows(host.texts[0])
    shutil.rmtree(folder.path)
    host.look()
    assert not host.knows(host.texts[0])
    assert host.cache.known.texts() == 0


def test_a_corpus_in_both_places_counts_once(host: Host) -> None:
    host.write_snapshot()
    host.write_folder()
    host.look()
    assert host.cache.known.texts() == 200


def test_an_unfinished_folder_is_used_once_it_is_finished(host: Host) -> None:
    folder = VectorFolder.of_corpus(host.data_dir, host.corpus.digest, "ns")
    folder.path.mkdir(parents=True)
    host.look()
    folder.path.rmdir()
    host.write_folder()
    host.look()
    assert host.knows(host.texts[0])


def test_what_is_no_vector_is_not_known(host: Host) -> None:
    folder = host.write_folder()
    host.vectors[3] = 0
    host.vectors[4, 1] = np.nan
    np.save(folder.vectors, host.vectors)
    host.look()
    assert not host.knows(host.texts[3])
    assert not host.knows(host.texts[4])
    assert host.knows(host.texts[5])


def test_a_vector_that_is_not_of_length_1_is_not_known_where_all_are(host: Host) -> None:
    folder = host.write_folder()
    host.vectors[3] *= 2
    np.save(folder.vectors, host.vectors)
    host.look()
    assert not host.knows(host.texts[3], codec=VectorCodec("ns", DIMENSION, normalized=True))
    assert host.knows(host.texts[4], codec=VectorCodec("ns", DIMENSION, normalized=True))


def test_vectors_of_another_dimension_than_the_models_are_not_known(host: Host) -> None:
    host.write_folder()
    host.look()
    assert not host.knows(host.texts[0], codec=VectorCodec("ns", DIMENSION + 1))


def test_a_damaged_snapshot_is_left_out_with_a_word_in_the_log(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    folder = host.write_snapshot()
    (folder / INDEX_FILE).write_bytes(b"cut")
    host.look()
    host.look()
    assert not host.knows(host.texts[0])
    assert caplog.text.count("are not used for new premises") == 1


NPY_HEADER_START = 10


def damaged_header(whole: bytes, header: bytes) -> bytes:
    return whole[:NPY_HEADER_START] + header.ljust(whole[8] - 1) + b"\n" + whole[NPY_HEADER_START + whole[8] :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("text-keys.npy", lambda _: b""),
        ("text-key-rows.npy", lambda _: b""),
        ("vectors.npy", lambda _: b""),
        ("vectors.npy", lambda whole: damaged_header(whole, b"{'descr': '<f4', (((")),
        ("vectors.npy", lambda whole: damaged_header(whole, HUGE_SHAPE)),
        ("vectors.npy", lambda whole: whole + b"behind the array"),
        ("vectors.json", lambda _: b""),
        ("vectors.json", lambda _: b"[]"),
        ("vectors.json", lambda _: b'{"namespace":["x"],"corpus_digest":"d"}'),
        ("vectors.json", lambda _: b'{"namespace":"ns","corpus_digest":[1]}'),
        ("vectors.json", lambda _: b'{"namespace":{},"corpus_digest":"d"}'),
    ],
)
def test_a_damaged_folder_is_told_once_and_the_others_serve(
    host: Host, name: str, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    host.write_folder()
    damaged = VectorFolder.of_spellings(host.data_dir, "d" * 64, "ns")
    shutil.copytree(host.write_folder("other").path, damaged.path)
    file = damaged.path / name
    file.write_bytes(damage(file.read_bytes()))
    host.look()
    host.look()
    assert host.knows(*host.texts)
    [told] = [record.getMessage() for record in caplog.records if record.name == "api"]
    assert str(damaged.path) in told


def test_a_damaged_description_is_written_anew_by_the_next_computation(host: Host) -> None:
    folder = host.write_folder()
    (folder.path / "text-keys.npy").write_bytes(b"")
    folder.describe(host.texts, EmbeddingsOrigin(host.corpus.digest, host.corpus.revision, "ns"))
    host.look()
    assert host.knows(*host.texts)


def test_a_damaged_folder_that_is_mended_in_place_is_used(host: Host) -> None:
    folder = host.write_folder()
    whole = folder.vectors.read_bytes()
    folder.vectors.write_bytes(b"cut")
    host.look()
    folder.vectors.write_bytes(whole)
    host.look()
    assert host.knows(*host.texts)


def test_a_folder_that_changes_and_stays_damaged_is_told_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    folder = host.write_folder()
    for cut in (b"cut", b"shorter"):
        folder.vectors.write_bytes(cut)
        host.look()
    assert caplog.text.count("are not used for new premises") == 1


def test_a_damaged_folder_that_was_removed_is_used_once_it_is_made_anew(host: Host) -> None:
    folder = host.write_folder()
    folder.vectors.write_bytes(b"cut")
    host.look()
    shutil.rmtree(folder.path)
    host.look()
    host.write_folder()
    host.look()
    assert host.knows(host.texts[0])
