"""The models that a deployment serves: the default one, and those that `MODELS` adds.

`MODELS` is a JSON array, or the path of a file that holds one; each entry names a model, and may set its revision, its
pooling, and the shorter dimensions that it was trained for.
"""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

Pooling = Literal["mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

ONE_LINE = r"^[^\x00-\x1f\x7f]{0,200}$"
"""Names go into log lines and answers: at most 200 characters, none of them a control character."""

POOLING_OF_SYNONYM: dict[str, Pooling] = {"bos": "cls", "eos": "lasttoken", "last": "lasttoken"}


def _read_pooling(value: object) -> object:
    """The pooling by one of its names, or nothing."""
    chosen = POOLING_OF_SYNONYM.get(value, value) if isinstance(value, str) else value
    if chosen in ("", *POOLINGS):
        return chosen
    raise PydanticCustomError(
        "pooling", "Input should be mean, cls (or bos), max, last (or eos), mean_sqrt_len_tokens, or empty"
    )


PoolingChoice = Annotated[
    Literal["", "mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens"], BeforeValidator(_read_pooling)
]
"""Empty: the model's own."""


class CatalogueModel(BaseModel):
    """One model of the catalogue, as requests name it and as its workers load it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", pattern=ONE_LINE, description="what requests call it; empty: MODEL_ID")
    model_id: str = Field(min_length=1, pattern=ONE_LINE, description="hub model, local folder, or `demo`")
    model_revision: str = Field("", description="revision on the hub")
    pooling: PoolingChoice = Field("", description="replaces the model's own pooling")
    dimensions: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        (), description="shorter vectors that the model was trained for (Matryoshka), which requests may ask for"
    )

    @property
    def public_name(self) -> str:
        """What requests call it."""
        return self.name or self.model_id

    @property
    def loaded_as(self) -> tuple[str, str, str]:
        """What makes two workers load the same model: id, revision and pooling."""
        return (self.model_id, self.model_revision, self.pooling)


def _refuse_double_names(models: tuple[CatalogueModel, ...]) -> tuple[CatalogueModel, ...]:
    names = [model.public_name for model in models]
    if double := {name for name in names if names.count(name) > 1}:
        raise PydanticCustomError(
            "models", "the name '{name}' is given to several models: set `name`", {"name": min(double)}
        )
    ways = [model.loaded_as for model in models]
    if len(set(ways)) < len(ways):
        raise PydanticCustomError("models", "two entries are the same model with the same pooling: leave one out")
    return models


_ENTRIES = TypeAdapter(tuple[CatalogueModel, ...])


def _read_catalogue(value: object) -> object:
    """Entries from JSON, or from the file that is named."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("{"):
        raise PydanticCustomError("models", "it should be a JSON array of models, also for one: [{...}]")
    if not text.startswith("["):
        try:
            text = Path(text).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = type(error).__name__
            raise PydanticCustomError(
                "models", "it is neither a JSON array nor a file that can be read ({reason})", {"reason": reason}
            ) from None
    return _ENTRIES.validate_json(text)


ModelList = Annotated[
    tuple[CatalogueModel, ...], BeforeValidator(_read_catalogue), AfterValidator(_refuse_double_names)
]


def complete_catalogue(default: CatalogueModel, added: tuple[CatalogueModel, ...]) -> tuple[CatalogueModel, ...]:
    """All models, the default one first: an entry that loads it as the default is loaded gives it its name."""
    entry = next((model for model in added if model.loaded_as == default.loaded_as), default)
    return (entry, *(model for model in added if model != entry))
