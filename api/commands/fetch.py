"""`premises fetch`: download beforehand whatever the settings name on the hub, the one place where HF_TOKEN is used."""

from collections.abc import Callable

from shared.artifacts import find_corpus, find_embeddings, model_folder
from shared.settings import Settings


def fetch(settings: Settings, write: Callable[[str], None]) -> None:
    """Fetch the models of the catalogue, and the corpus with its embeddings where the hub has them.

    `write` gets a line for each, with the folder or file that it is in.  What is there already is checked, not fetched
    again.  Raises `ArtifactError` where something cannot be had.
    """
    for model in settings.catalogue():
        folder = model_folder(settings.of_model(model), with_token=True)
        write(f"model {model.public_name}: {folder}")
    if settings.data or not settings.data_revision:
        return
    write(f"corpus {settings.data_repo} at {settings.data_revision}: {find_corpus(settings, with_token=True)}")
    embeddings = find_embeddings(settings, with_token=True)
    if settings.model_revision:
        write(f"its embeddings by {settings.model_id}: {embeddings or 'none there, they will be computed'}")
