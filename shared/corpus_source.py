"""Where a further corpus comes from, as commands, requests, the setting CORPORA and Redis say it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from shared.corpus_prefix import check_prefix
from shared.errors import InvalidRequestError

if TYPE_CHECKING:
    from shared.settings import Settings

DEMO = "demo"
ONE_LINE = r"^[^\x00-\x1f\x7f]{0,1000}$"


class CorpusSource(BaseModel):
    """Equal sources are the same corpus; files are named as whoever prepares them sees them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        "", pattern=ONE_LINE, description="a corpus folder or a premises.tar.gz by its whole path, or `demo`"
    )
    data_repo: str = Field("", pattern=ONE_LINE, description="hub data set; empty: the server's DATA_REPO")
    data_revision: str = Field("", pattern=ONE_LINE, description="revision of the hub data set, in place of `data`")
    embeddings: str = Field("", pattern=ONE_LINE, description="whole path of a .npy; empty: the hub's, else computed")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.data) == bool(self.data_revision) or (self.data and self.data_repo):
            raise PydanticCustomError(
                "source", "name it either by `data`, or by `data_revision` with `data_repo` if need be"
            )
        for path in (self.data, self.embeddings):
            if path and path != DEMO and not Path(path).is_absolute():
                raise PydanticCustomError("path", "{path} is no whole path: write it from / on", {"path": path})
        return self

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """What these settings name."""
        if settings.data:
            return cls(data=whole_path(settings.data), embeddings=whole_path(settings.embeddings))
        repository = {"data_repo": settings.data_repo, "data_revision": settings.data_revision}
        return cls(**repository, embeddings=whole_path(settings.embeddings))

    def variables(self) -> dict[str, str]:
        """The settings that name it, as variables for another process; empty: unset."""
        return {name.upper(): value for name, value in self.model_dump().items()}

    def at(self, data_repo: str) -> Self:
        """The same with the hub data set said, where it was left to the server."""
        return self if self.data or self.data_repo else self.model_copy(update={"data_repo": data_repo})

    def __str__(self) -> str:
        named = {name: value for name, value in self.model_dump().items() if value}
        return " ".join(f"{name.upper()}={value}" for name, value in named.items())


def make_source(data: str, data_repo: str, data_revision: str, embeddings: str) -> CorpusSource:
    """A source from what somebody has typed; raises `InvalidRequestError` with one sentence."""
    try:
        return CorpusSource(data=data, data_repo=data_repo, data_revision=data_revision, embeddings=embeddings)
    except ValidationError as error:
        reasons = "; ".join(fault["msg"] for fault in error.errors(include_url=False, include_input=False))
        raise InvalidRequestError(f"The corpus cannot be used: {reasons}.") from None


def whole_path(path: str) -> str:
    """A path from / on; `demo` and nothing stay what they are."""
    return path if path in ("", DEMO) else str(Path(path).expanduser().absolute())


class PlacedCorpus(BaseModel):
    """A source and the prefix that it is to be served at."""

    model_config = ConfigDict(frozen=True)

    prefix: str
    source: CorpusSource


def _read_corpora(value: object) -> object:
    """Entries from a JSON object `{prefix: source}`; paths may begin where the process runs."""
    if not isinstance(value, str):
        return value
    try:
        entries = orjson.loads(value)
    except orjson.JSONDecodeError:
        entries = None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise PydanticCustomError("corpora", 'it should be a JSON object: {"v4.33.0": {"data_revision": "v4.33.0"}}')
    return [{"prefix": _checked(prefix), "source": _with_whole_paths(entry)} for prefix, entry in entries.items()]


def _checked(prefix: str) -> str:
    try:
        return check_prefix(prefix)
    except InvalidRequestError as error:
        raise PydanticCustomError("prefix", "{reason}", {"reason": str(error).rstrip(".")}) from None


def _with_whole_paths(entry: dict[str, object]) -> dict[str, object]:
    paths = {name: whole_path(path) for name in ("data", "embeddings") if isinstance(path := entry.get(name), str)}
    return entry | paths


CorpusList = Annotated[tuple[PlacedCorpus, ...], BeforeValidator(_read_corpora)]
