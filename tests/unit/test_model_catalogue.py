"""Which models a deployment serves: the default one, and those of MODELS."""

import json
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.model_catalogue import CatalogueModel
from shared.settings import Settings, load_settings


def catalogue(monkeypatch: pytest.MonkeyPatch, models: object, **variables: str) -> tuple[CatalogueModel, ...]:
    monkeypatch.setenv("MODELS", models if isinstance(models, str) else json.dumps(models))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings().catalogue()


def test_without_models_the_default_is_served_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    [default] = catalogue(monkeypatch, "", MODEL_ID="org/model", MODEL_REVISION="v2", POOLING="bos")
    assert (default.public_name, default.loaded_as) == ("org/model", ("org/model", "v2", "cls"))


def test_models_come_after_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    added = [{"model_id": "org/b", "pooling": "last"}, {"name": "c", "model_id": "/models/c", "dimensions": [64]}]
    assert [model.public_name for model in catalogue(monkeypatch, added)] == ["demo", "org/b", "c"]


def test_an_entry_may_name_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    added = [{"model_id": "org/b"}, {"name": "minilm", "model_id": "demo", "dimensions": [128]}]
    models = catalogue(monkeypatch, added)
    assert [(model.public_name, model.dimensions) for model in models] == [("minilm", (128,)), ("org/b", ())]


def test_models_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('[{"model_id": "org/b"}]')
    assert catalogue(monkeypatch, str(tmp_path / "models.json"))[1].model_id == "org/b"


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("org/b", "neither a JSON array nor a file"),
        ("[{]", "JSON"),
        ([{"name": "b"}], "model_id"),
        ([{"model_id": "b", "pooling": "median"}], "pooling"),
        ([{"model_id": "b", "dimensions": [0]}], "dimensions"),
        ([{"model_id": "b", "modell": "c"}], "modell"),
        ([{"name": "b", "model_id": "x"}, {"model_id": "b"}], "'b'"),
        ([{"name": "b", "model_id": "x"}, {"model_id": "x"}], "the same model"),
        ([{"name": "demo", "model_id": "x"}], "'demo'"),
        ([{"name": "a\nb", "model_id": "x"}], "MODELS[0].name"),
        ([{"name": "n" * 201, "model_id": "x"}], "MODELS[0].name"),
        ("{}", "array"),
    ],
)
def test_an_unusable_catalogue_is_refused_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, models: object, said: str
) -> None:
    with pytest.raises(SettingsError, match="MODELS") as refused:
        catalogue(monkeypatch, models)
    assert said in str(refused.value)


@pytest.mark.parametrize(("given", "meant"), [("eos", "lasttoken"), ("last", "lasttoken"), ("max", "max"), ("", "")])
def test_pooling_has_the_names_of_other_servers(monkeypatch: pytest.MonkeyPatch, given: str, meant: str) -> None:
    monkeypatch.setenv("POOLING", given)
    assert load_settings().pooling == meant


def test_a_worker_of_a_model_gets_its_settings() -> None:
    settings = Settings(model_id="a", port=9000)
    other = settings.of_model(CatalogueModel(model_id="b", model_revision="r", pooling="max"))
    assert (other.model_id, other.model_revision, other.pooling, other.port) == ("b", "r", "max", 9000)
