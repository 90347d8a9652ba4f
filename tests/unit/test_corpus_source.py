"""How a further corpus is named, in commands, requests and the setting CORPORA."""

import pytest

from shared.corpus_source import CorpusSource, make_source, whole_path
from shared.errors import InvalidRequestError, SettingsError
from shared.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("data", "data_repo", "revision", "sentence"),
    [
        ("", "", "", "name it either by `data`, or by `data_revision`"),
        ("demo", "", "v4.33.0", "name it either by `data`, or by `data_revision`"),
        ("demo", "me/premises", "", "name it either by `data`, or by `data_revision`"),
        ("premises.tar.gz", "", "", "premises.tar.gz is no whole path"),
        ("/x\ny", "", "", "should match pattern"),
    ],
)
def test_a_source_that_names_nothing_or_two_things_is_refused(
    data: str, data_repo: str, revision: str, sentence: str
) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        make_source(data, data_repo, revision, "")


def test_a_path_is_made_whole_where_it_is_typed() -> None:
    assert whole_path("x.npy").startswith("/")
    assert [whole_path("demo"), whole_path(""), whole_path("/a/b")] == ["demo", "", "/a/b"]


@pytest.mark.parametrize(
    "source",
    [
        CorpusSource(data="/a/corpus", embeddings="/a/e.npy"),
        CorpusSource(data="demo"),
        CorpusSource(data_repo="me/premises", data_revision="v4.33.0"),
    ],
    ids=str,
)
def test_a_source_survives_the_environment_of_the_process_that_prepares_it(
    source: CorpusSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", "demo")  # of the deployment's default corpus
    for name, value in source.variables().items():
        monkeypatch.setenv(name, value)
    assert CorpusSource.of(load_settings()) == source


def test_the_data_set_that_was_left_to_the_server_is_said() -> None:
    source = CorpusSource(data_revision="v4.33.0").at("l3lab/lean-premises")
    assert str(source) == "DATA_REPO=l3lab/lean-premises DATA_REVISION=v4.33.0"
    assert CorpusSource(data="demo").at("l3lab/lean-premises") == CorpusSource(data="demo")


def test_the_setting_lists_corpora_by_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPORA", '{"v4.33.0": {"data_revision": "v4.33.0"}, "mine": {"data": "mine.tar.gz"}}')
    first, second = load_settings().corpora
    assert (first.prefix, first.source) == ("v4.33.0", CorpusSource(data_revision="v4.33.0"))
    assert second.source.data.endswith("/mine.tar.gz")
    assert Settings().model_dump(mode="json")["corpora"][0]["prefix"] == "v4.33.0"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("v4.33.0", "it should be a JSON object"),
        ('["v4.33.0"]', "it should be a JSON object"),
        ('{"v4.33.0": "/x"}', "it should be a JSON object"),
        ('{"v1": {"data": "demo"}}', "kept for the server's own paths"),
        ('{"a/b": {"data": "demo"}}', "cannot be a prefix"),
        ('{"mine": {"path": "/x"}}', "Extra inputs are not permitted"),
        ('{"mine": {}}', "name it either by `data`"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(value: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPORA", value)
    with pytest.raises(SettingsError, match=sentence) as raised:
        load_settings()
    assert str(raised.value).startswith("CORPORA")
