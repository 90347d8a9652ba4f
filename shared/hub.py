"""Fetches data and models from the Hugging Face hub (or HF_ENDPOINT), and says in a sentence what went wrong.

huggingface_hub reads HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE when it is imported; import this module where it is
used.  A file enters the cache by one rename after its size was checked, so nothing half-fetched is ever used.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT, is_offline_mode
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from shared.errors import ArtifactError

TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
"""Base of all errors of the HTTP library under huggingface_hub, whichever that is in its version."""

MODEL_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
OLDER_WEIGHTS = ["*.bin"]
OTHER_FORMATS = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]

log = logging.getLogger(__name__)


class Download(Protocol):
    """A download with all but one argument given."""

    def __call__(self, *, offline: bool) -> str:
        """Where it ends up; `offline`: from the cache alone."""
        ...


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository at a revision, and the settings that an operator would change."""

    repo_type: Literal["dataset", "model"]
    repo_id: str
    revision: str
    """Empty: the repository's main branch."""
    cache_dir: Path
    with_token: bool = False
    """Show HF_TOKEN, as `premises fetch` alone does: processes that run for long need none."""

    @property
    def token(self) -> Literal[False] | None:
        """What huggingface_hub is told: None lets it use HF_TOKEN."""
        return None if self.with_token else False

    @property
    def repo_variable(self) -> str:
        """Environment variable that names the repository."""
        return "DATA_REPO" if self.repo_type == "dataset" else "MODEL_ID"

    @property
    def revision_variable(self) -> str:
        """Environment variable that names the revision."""
        return "DATA_REVISION" if self.repo_type == "dataset" else "MODEL_REVISION"


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    return is_offline_mode()


def fetch_file(source: HubSource, filename: str) -> Path | None:
    """A file of a repository, from the cache where it is up to date; None where the repository has no such file.

    Raises `ArtifactError` for everything else that keeps the file away.
    """
    with _plain_errors(source, filename):
        try:
            return _where_seen(
                source,
                lambda *, offline: hf_hub_download(
                    source.repo_id,
                    filename,
                    repo_type=source.repo_type,
                    revision=source.revision or None,
                    cache_dir=source.cache_dir,
                    token=source.token,
                    local_files_only=offline,
                ),
            )
        except RemoteEntryNotFoundError:
            return None
        except LocalEntryNotFoundError:
            if _known_to_be_absent(source, filename):
                return None
            raise


def fetch_model(source: HubSource) -> Path:
    """The folder of a model's configuration, tokenizer and weights: safetensors, or where there are none, .bin."""
    folder = _fetch_files(source, MODEL_FILES)
    if not any(folder.rglob("*.safetensors")):
        folder = _fetch_files(source, OLDER_WEIGHTS)
    return folder


def _fetch_files(source: HubSource, patterns: list[str]) -> Path:
    with _plain_errors(source, "the model"):
        return _where_seen(
            source,
            lambda *, offline: snapshot_download(
                source.repo_id,
                revision=source.revision or None,
                cache_dir=source.cache_dir,
                allow_patterns=patterns,
                ignore_patterns=OTHER_FORMATS,
                token=source.token,
                local_files_only=offline,
            ),
        )


def _where_seen(source: HubSource, download: Download) -> Path:
    """Where a download ends up; what the hub hides from who shows no token may have been fetched with one."""
    try:
        return Path(download(offline=is_offline_mode()))
    except (GatedRepoError, RepositoryNotFoundError):
        if source.with_token:
            raise
        with suppress(LocalEntryNotFoundError):
            found = Path(download(offline=True))
            log.info("the hub shows %s to accounts only: what was fetched with a token is used", source.repo_id)
            return found
        raise


@contextmanager
def _plain_errors(source: HubSource, wanted: str) -> Iterator[None]:
    """Turn the hub's errors into sentences."""
    try:
        yield
    except LocalEntryNotFoundError as error:
        raise ArtifactError(_why_unreachable(source, wanted)) from error
    except GatedRepoError as error:
        raise ArtifactError(
            f"The hub lets only accepted accounts read {source.repo_id}: ask for access on its page, then fetch it "
            "once with `HF_TOKEN=… premises fetch`."
        ) from error
    except RepositoryNotFoundError as error:
        raise ArtifactError(
            f"The hub {ENDPOINT} has no {source.repo_type} {source.repo_id}: check {source.repo_variable}, "
            "or, if it is private, fetch it once with `HF_TOKEN=… premises fetch`."
        ) from error
    except RevisionNotFoundError as error:
        raise ArtifactError(
            f"The {source.repo_type} {source.repo_id} has no revision {source.revision!r} on the hub: "
            f"set {source.revision_variable} to one that it has."
        ) from error
    except HFValidationError as error:
        raise ArtifactError(f"{source.repo_variable}={source.repo_id!r} is no name of a hub repository.") from error
    except (TRANSPORT_ERROR, OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ArtifactError(
            f"Fetching {_place(source, wanted)} from {ENDPOINT} failed ({reason}): start again; "
            "nothing half-fetched was kept."
        ) from error


def _known_to_be_absent(source: HubSource, filename: str) -> bool:
    """Whether the hub said, when it was last reached, that this revision has no such file."""
    cached = try_to_load_from_cache(
        source.repo_id,
        filename,
        cache_dir=source.cache_dir,
        revision=source.revision or None,
        repo_type=source.repo_type,
    )
    return cached is _CACHED_NO_EXIST


def _why_unreachable(source: HubSource, wanted: str) -> str:
    place = _place(source, wanted)
    if is_offline_mode():
        variable = "DATA" if source.repo_type == "dataset" else "MODEL_ID"
        return (
            f"HF_HUB_OFFLINE is set, but {place} is not in the cache {source.cache_dir}: "
            f"start once without it, or set {variable} to a local folder."
        )
    return (
        f"The hub {ENDPOINT} does not answer, and {place} is not in the cache {source.cache_dir}: "
        "check the network, HF_ENDPOINT and proxies, then start again."
    )


def _place(source: HubSource, wanted: str) -> str:
    return f"{wanted} of {source.repo_id} at {source.revision or 'main'}"
