"""Sends files to a data set of the Hugging Face hub (or HF_ENDPOINT), in one commit, and says what went wrong.

As `shared/hub.py`, import this where it is used.  Files travel by Xet where the package hf_xet is installed and
HF_HUB_DISABLE_XET is not set, else by LFS.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from shared.errors import ArtifactError
from shared.hub import TRANSPORT_ERROR

REPO_TYPE = "dataset"
WHAT_TO_DO: dict[int, str] = {
    401: "The hub {endpoint} does not know the token: give one of yours with HF_TOKEN.",
    403: "The token may not write to {repo}: give one with write permission for it, with HF_TOKEN.",
    409: "{repo} was changed by somebody else meanwhile: look at it, then run the same command again.",
    412: "{repo} was changed by somebody else meanwhile: look at it, then run the same command again.",
    413: "The hub finds the files too large: see its limits for data sets.",
    429: "The hub has had too many requests of yours: run the same command again later.",
}


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A file of the commit."""

    path: str
    """In the data set."""
    content: Path | bytes


@dataclass(frozen=True, slots=True)
class HubState:
    """Branches and tags of a data set, each with its commit."""

    branches: dict[str, str]
    tags: dict[str, str]


def has_token() -> bool:
    """Whether HF_TOKEN, or a login of the hub's own program, is there."""
    return get_token() is not None


class HubDataset:
    """A data set that may be written to; every method raises `ArtifactError` with a sentence."""

    def __init__(self, repo_id: str) -> None:
        self.repo_id = repo_id
        self._api = HfApi()

    def find_state(self) -> HubState | None:
        """What there is; None where there is no such data set, or none that the token may see."""
        try:
            with self._plain_errors("Looking at"):
                refs = self._api.list_repo_refs(self.repo_id, repo_type=REPO_TYPE)
        except ArtifactError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                return None
            raise
        return HubState(
            branches={ref.name: ref.target_commit for ref in refs.branches},
            tags={ref.name: ref.target_commit for ref in refs.tags},
        )

    def list_files(self, revision: str) -> list[str]:
        """Paths of all files at a revision."""
        with self._plain_errors("Looking at"):
            return self._api.list_repo_files(self.repo_id, repo_type=REPO_TYPE, revision=revision)

    def create(self, *, private: bool) -> None:
        """Make the data set."""
        with self._plain_errors("Making"):
            self._api.create_repo(self.repo_id, repo_type=REPO_TYPE, private=private)

    def commit(
        self, files: Sequence[FileToSend], removed: Sequence[str], *, branch: str, parent: str, message: str
    ) -> tuple[str, str]:
        """Send and remove files on a branch whose last commit is `parent`; the new commit's id and address.

        All of it or nothing.  Where nothing is changed by it, that is the last commit's.
        """
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(file.path, file.content) for file in files),
            *(CommitOperationDelete(path) for path in removed),
        ]
        with self._plain_errors("Publishing to"):
            done = self._api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                repo_type=REPO_TYPE,
                revision=branch,
                parent_commit=parent,
            )
        return done.oid, str(done.commit_url)

    def tag(self, name: str, commit: str, *, replace: bool) -> None:
        """Give a commit a name; `replace`: take the name from the commit that has it."""
        with self._plain_errors("Tagging"):
            if replace:
                self._api.delete_tag(self.repo_id, tag=name, repo_type=REPO_TYPE)
            self._api.create_tag(self.repo_id, tag=name, revision=commit, repo_type=REPO_TYPE)

    @contextmanager
    def _plain_errors(self, doing: str) -> Iterator[None]:
        """Turn the hub's errors into sentences."""
        try:
            yield
        except HFValidationError as error:
            raise ArtifactError(f"{self.repo_id!r} is no name of a data set: write OWNER/NAME.") from error
        except RepositoryNotFoundError as error:
            raise ArtifactError(
                f"The hub {ENDPOINT} has no data set {self.repo_id} that the token may see: check --repo and HF_TOKEN, "
                "or make it with --create."
            ) from error
        except HfHubHTTPError as error:
            raise ArtifactError(self._refusal(doing, error)) from error
        except (TRANSPORT_ERROR, OSError, RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{doing} {self.repo_id} on {ENDPOINT} failed ({_first_line(error)}): check the network and "
                "HF_ENDPOINT (HF_HUB_DISABLE_XET=1 for a hub without Xet), then run the same command again."
            ) from error

    def _refusal(self, doing: str, error: HfHubHTTPError) -> str:
        status = error.response.status_code
        known = WHAT_TO_DO.get(status, "{doing} {repo} failed: run the same command again later.")
        said = known.format(endpoint=ENDPOINT, repo=self.repo_id, doing=doing)
        return f"{said} (The hub answered {status}: {_first_line(error)})"


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
