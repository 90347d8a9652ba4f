"""The one settings object: read from the environment once, checked, frozen.

Names that operators of hanwenzhu/lean-premise-server know keep their meaning; new ones carry their unit.
"""

import os
import warnings
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.connection import parse_url

from shared.corpus_source import CorpusList
from shared.errors import SettingsError
from shared.model_catalogue import CatalogueModel, ModelList, PoolingChoice, complete_catalogue

RETIRED_VARIABLES = (
    "EMBED_SERVICE_MAX_CONCURRENT_INPUTS",
    "EMBED_SERVICE_TIMEOUT",
    "EMBED_SERVICE_URL",
    "LRU_CACHE_SIZE",
    "MAX_CLIENT_BATCH_SIZE",
    "MAX_CONCURRENT_REQUESTS",
    "TEI_VERSION",
)

PositiveInt = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


def _check_redis_url(url: str) -> str:
    """Raise `ValueError`, which does not repeat the password, for what no Redis client would take."""
    try:
        parse_url(url)  # type: ignore[no-untyped-call] # redis leaves it so
    except ValueError:
        raise ValueError("write it as redis://host:6379/0, with user:password@ before the host if need be") from None
    return url


SelectorName = Literal["dense", "hybrid"]

RedisUrl = Annotated[str, AfterValidator(_check_redis_url)]


class Settings(BaseSettings):
    """Every setting of the API, the worker and the commands; the field `max_k` is the variable `MAX_K`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Where it listens
    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port that the API listens on")
    api_processes: PositiveInt = Field(
        1, description="API processes on that port; each has its own limits on bodies, threads and in-process cache"
    )
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description="broker, cache and notifications", repr=False)

    # Who may ask
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="keys, comma separated, of which each request must show one; unset: none is wanted",
        repr=False,
    )
    api_keys_file: Path | None = Field(
        None, description="file with such keys, one a line; it is read again when it changes"
    )
    operator_keys: SecretStr = Field(
        SecretStr(""),
        description="keys, comma separated, of who may change at `/corpora` what is served; unset: nobody may",
        repr=False,
    )
    cors_origins: str = Field(
        "", description="origins whose web pages may call the API, comma separated, or `*`; empty: none"
    )

    # What is served
    data: str = Field(
        "",
        description="corpus: a folder, a premises.tar.gz, or `demo`; "
        "empty: DATA_REPO at DATA_REVISION where one of them is set, else `demo`",
    )
    data_repo: str = Field("l3lab/lean-premises", description="hub data set with premises.tar.gz and embeddings/")
    data_revision: str = Field("", description="revision of DATA_REPO, for example v4.32.0")
    data_dir: Path = Field(Path(".state"), description="folder for downloads, snapshots and computed embeddings")
    embeddings: str = Field("", description="path of a .npy with the corpus embeddings; empty: hub, else computed")
    model_id: str = Field("demo", description="hub model, local folder, or `demo` (all-MiniLM-L6-v2 as packaged)")
    model_revision: str = Field("", description="revision of MODEL_ID on the hub; names the hub's embeddings file too")
    pooling: PoolingChoice = Field(
        "", description="mean, cls (bos), max or last (eos) in place of the model's own pooling; empty: its own"
    )
    models: Annotated[ModelList, NoDecode] = Field(
        (), description="further models of /v1/embeddings: a JSON array, or a file with one; see docs/models.md"
    )
    truncate_inputs: bool = Field(
        default=False, description="cut inputs of /v1/embeddings and /embed that are too long for the model, not 400"
    )
    corpora: Annotated[CorpusList, NoDecode] = Field(
        (), description="further corpora by URL prefix, wanted from the start: a JSON object; see docs/revisions.md"
    )
    corpus_on_broken_line: Literal["stop", "skip-rest"] = Field(
        "stop", description="stop: a broken line ends the start; skip-rest: drop the rest of that file"
    )

    # Limits of a request
    max_new_premises: int = Field(2048, ge=0, description="new premises of a request that are looked at")
    max_k: PositiveInt = Field(1024, description="largest k; larger ones are clamped")
    max_states: PositiveInt = Field(64, description="states of one request")
    max_inputs: PositiveInt = Field(2048, description="inputs of one request for embeddings")
    max_text_characters: PositiveInt = Field(1_000_000, description="characters of one text")
    max_body_bytes: PositiveInt = Field(16 * 1024 * 1024, description="largest request body")
    retrieve_timeout_seconds: PositiveSeconds = Field(
        120.0, description="deadline of a request; lean-lsp-mcp gives up after 10"
    )
    max_large_bodies: PositiveInt = Field(
        4, description="bodies over 128 KiB that are worked on at once; further ones get 429 unread"
    )
    max_bodies_bytes: PositiveInt = Field(
        256 * 1024 * 1024, description="memory for request bodies on their way; beyond it they get 429 unread"
    )
    partial_results: bool = Field(
        default=False,
        description="answer from what is embedded when new premises take longer than PARTIAL_AFTER_SECONDS",
    )
    partial_after_seconds: PositiveSeconds = Field(
        5.0, description="how long new premises are waited for with PARTIAL_RESULTS"
    )

    # The search
    selector: SelectorName = Field(
        "dense",
        description="how answers are ranked: dense (vectors) or hybrid (symbols too); see docs/selectors.md",
    )
    search_threads: int = Field(0, ge=0, description="CPU threads of one search; 0: all cores, 8 at most")

    # The worker
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="what the model computes in")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="what the model runs on")
    max_batch_tokens: PositiveInt | None = Field(None, description="tokens of one batch; unset: by device")
    worker_concurrency: PositiveInt = Field(128, description="jobs that one worker holds at a time")
    worker_kernel: Literal["auto", "packed", "packed-onednn", "packed-varlen", "padded"] = Field(
        "auto", description="how the model is computed; auto: the fastest, as measured at start"
    )
    worker_threads: int = Field(0, ge=0, description="CPU threads of the model; 0: the fastest number, as measured")

    worker_stop_seconds: PositiveSeconds = Field(
        15.0, description="a worker told to stop ends within this; what it holds goes back to the queue"
    )

    # Cache and queue
    cache_dtype: Literal["float32", "float16"] = Field("float32", description="what cached vectors are stored in")
    cache_ttl_seconds: PositiveInt = Field(7 * 24 * 3600, description="how long a vector stays cached")
    visibility_timeout_seconds: PositiveSeconds = Field(
        60.0, description="after this a lost worker's jobs are given to another"
    )
    heartbeat_seconds: PositiveSeconds = Field(2.0, description="how often a worker reports")
    heartbeat_ttl_seconds: PositiveSeconds = Field(10.0, description="after this silence a worker counts as gone")
    max_queued_state_tokens: PositiveInt = Field(
        200_000, description="estimated tokens of waiting states beyond which new ones get 429"
    )
    max_queued_state_seconds: PositiveSeconds = Field(
        30.0, description="the same in seconds of work, at the speed that the workers report"
    )
    max_queued_bulk_tokens: PositiveInt = Field(
        2_000_000, description="estimated tokens of waiting premises beyond which new ones get 429"
    )
    max_queued_bulk_seconds: PositiveSeconds = Field(
        60.0, description="the same in seconds of work, at the speed that the workers report"
    )
    bulk_ageing_seconds: PositiveSeconds = Field(
        5.0, description="premises that waited this long take every fourth batch from states"
    )
    corpus_ageing_seconds: PositiveSeconds = Field(
        60.0, description="corpus building that waited this long takes every fourth batch"
    )

    # Flower, the queue's web page
    flower: bool = Field(default=False, description="make serve: run Flower, the queue's web page, too")
    flower_port: int = Field(5555, ge=1, le=65535, description="port of Flower, on 127.0.0.1")
    flower_basic_auth: SecretStr = Field(
        SecretStr(""), description="user:password for Flower; unset: made up in make serve, refused in compose"
    )

    # Logs
    log_format: Literal["readable", "json"] = Field("readable", description="readable for people, json for collectors")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")

    def catalogue(self) -> tuple[CatalogueModel, ...]:
        """The models that are served, the default one first."""
        default = CatalogueModel(model_id=self.model_id, model_revision=self.model_revision, pooling=self.pooling)
        return complete_catalogue(default, self.models)

    def of_model(self, model: CatalogueModel) -> "Settings":
        """The settings of a worker of one of the models."""
        return self.model_copy(
            update={"model_id": model.model_id, "model_revision": model.model_revision, "pooling": model.pooling}
        )


def load_settings() -> Settings:
    """Read the environment; an unusable value raises `SettingsError` naming the variable."""
    _refuse_empty_keys()
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError(_describe(error)) from None
    _refuse_double_names(settings)
    _warn_of_retired_variables()
    return settings


def _refuse_empty_keys() -> None:
    """An empty variable is as none elsewhere; here it would open a server that was meant to be closed."""
    for name in ("API_KEYS", "API_KEYS_FILE"):
        if os.environ.get(name, "unset") == "":
            raise SettingsError(f"{name} is empty: give it a value, or remove it so that no key is wanted.")


def _describe(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=True)
    return " ".join(f"{_variable(f['loc'])}{_shown(f)} cannot be used: {f['msg']}." for f in faults)


def _shown(fault: ErrorDetails) -> str:
    """The value at fault, unless it belongs to a setting that may hold a secret."""
    field = Settings.model_fields[str(fault["loc"][0])]
    return f"={fault['input']!r}" if field.repr else ""


def _variable(location: tuple[int | str, ...]) -> str:
    """The variable at fault, and the place in it where it holds several things: `MODELS[0].name`."""
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[1:])
    return f"{str(location[0]).upper()}{inside}"


def _refuse_double_names(settings: Settings) -> None:
    names = [model.public_name for model in settings.catalogue()]
    if double := {name for name in names if names.count(name) > 1}:
        raise SettingsError(
            f"MODELS cannot be used: it gives the default model's name {min(double)!r} to another one: set its `name`."
        )


def _warn_of_retired_variables() -> None:
    for name in RETIRED_VARIABLES:
        if os.environ.get(name):
            warnings.warn(f"{name} no longer means anything and is ignored; see docs/migration.md.", stacklevel=3)
