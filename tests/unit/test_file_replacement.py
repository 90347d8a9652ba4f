"""Files that commands write take the place of files alone, and whole."""

import os
import stat
from pathlib import Path

import pytest

from api.commands.corpus_vectors import EmbedRequest, embed
from api.file_replacement import replacing
from shared.errors import ArtifactError
from shared.settings import Settings


def write(path: Path, text: str) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text(text)


def interrupt_writing(path: Path) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt


def test_a_pipe_stays_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="no regular file"):
        write(tmp_path / "pipe", "new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_an_interrupted_writer_leaves_the_earlier_file_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupt_writing(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_vectors_for_a_pipe_are_refused_before_they_are_computed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    request = EmbedRequest("demo", tmp_path / "pipe.npy", [], spellings=False)
    with pytest.raises(ArtifactError, match="no regular file"):
        embed(request, Settings(data_dir=tmp_path))
