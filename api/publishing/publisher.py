"""Publishes a corpus: looks at the data set, decides what to send, sends it in one commit, and tags that.

Imports huggingface_hub, which reads HF_* when it is imported: import this module where it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from api.publishing.manifest import PublishedManifest
from api.publishing.publication import GivenEmbeddings, Publication, PublishedCorpus, plan_publication
from shared.artifacts import MANIFEST_NAME, check_revision, find_manifest
from shared.errors import ArtifactError
from shared.hub_upload import HubDataset, HubState, has_token
from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where it goes, and what may happen there."""

    repo: str
    revision: str
    """A branch where there is one of that name, else a tag."""
    branch: str
    """Where the commit of a tag is made."""
    create: bool
    private: bool
    replace: bool
    """Take the tag from a commit that has it."""
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What was, or would be, sent; the JSON form is these fields."""

    repo: str
    revision: str
    branch: str
    tag: str | None
    commit: str | None
    """None: a dry run."""
    is_new: bool
    """False where the revision is there with all of it already."""
    url: str | None
    removed: list[str]
    manifest: PublishedManifest


class Publisher:
    """One publication to one data set; every method raises `ArtifactError` or `CorpusError` with a sentence."""

    def __init__(self, settings: Settings, target: Target) -> None:
        self._settings = settings
        self._target = target
        self._dataset = HubDataset(target.repo)

    def publish(self, corpus: PublishedCorpus, embeddings: Sequence[GivenEmbeddings]) -> PublishReport:
        """Send everything, or with `dry_run` nothing."""
        target = self._target
        check_revision(target.revision, corpus.revision)
        if not target.dry_run and not has_token():
            raise ArtifactError("Publishing needs a token with write permission: give it with HF_TOKEN.")
        state = self._find_state()
        is_branch = target.revision in state.branches
        branch, tag = (target.revision, None) if is_branch else (target.branch, target.revision)
        parent = self._parent(state, branch)
        present = self._dataset.list_files(parent) if parent else []
        earlier = self._manifest_at(parent, present)
        publication = plan_publication(corpus, embeddings, present=present, earlier=earlier)
        commit, url, is_new = None, None, True
        if tag is not None and tag in state.tags and not target.replace:
            self._check_tag(tag, state.tags[tag], publication)
            commit, is_new = state.tags[tag], False
        elif parent and not target.dry_run:
            commit, url = self._send(publication, branch, parent, tag, replace=tag in state.tags)
        return PublishReport(
            repo=target.repo,
            revision=target.revision,
            branch=branch,
            tag=tag,
            commit=commit,
            is_new=is_new,
            url=url,
            removed=publication.removed if is_new else [],
            manifest=publication.manifest,
        )

    def _find_state(self) -> HubState:
        """What the data set has; nothing where a dry run would make it."""
        state = self._dataset.find_state()
        if state is None and self._target.create:
            if self._target.dry_run:
                return HubState({}, {})
            self._dataset.create(private=self._target.private)
            state = self._dataset.find_state()
        if state is None:
            raise ArtifactError(
                f"The hub has no data set {self._target.repo} that the token may see: check --repo and HF_TOKEN, or "
                "make it with --create (and --private)."
            )
        return state

    def _parent(self, state: HubState, branch: str) -> str | None:
        """The last commit of the branch; None where there is no data set yet."""
        if branch not in state.branches and state.branches:
            raise ArtifactError(
                f"{self._target.repo} has no branch {branch}: name one of {', '.join(sorted(state.branches))}."
            )
        return state.branches.get(branch)

    def _check_tag(self, tag: str, commit: str, publication: Publication) -> None:
        """Whether the tag is of this very publication; what others fetched by it must stay what it was."""
        there = self._manifest_at(commit, self._dataset.list_files(commit))
        if there is None or not there.says_the_same_as(publication.manifest):
            raise ArtifactError(
                f"{self._target.repo} has a tag {tag} already, with other files: whoever fetched it would silently "
                "differ from whoever fetches it now. Publish a new revision, or take the tag with --replace."
            )

    def _manifest_at(self, commit: str | None, present: Sequence[str]) -> PublishedManifest | None:
        if commit is None or MANIFEST_NAME not in present:
            return None
        fields = {"data": "", "data_repo": self._target.repo, "data_revision": commit}
        path = find_manifest(self._settings.model_copy(update=fields), with_token=True)
        return PublishedManifest.read(path) if path else None

    def _send(
        self, publication: Publication, branch: str, parent: str, tag: str | None, *, replace: bool
    ) -> tuple[str, str]:
        manifest = publication.manifest
        commit, url = self._dataset.commit(
            publication.files,
            publication.removed,
            branch=branch,
            parent=parent,
            message=f"Premises of {manifest.revision}: {manifest.premises:,}",
        )
        if tag is not None:
            try:
                self._dataset.tag(tag, commit, replace=replace)
            except ArtifactError as error:
                raise ArtifactError(
                    f"The files are on the branch {branch} (commit {commit}), but not tagged as {tag} yet: run the "
                    f"same command again. {error}"
                ) from error
        return commit, url
