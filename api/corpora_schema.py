"""What `/corpora` answers and takes, as the OpenAPI document tells it."""

from api.status_schema import Answer
from shared.corpus_reports import CorpusState


class CorpusOfProcess(Answer):
    """A corpus as one process sees it."""

    process: str
    """Its host, with its port or process id."""
    state: CorpusState
    detail: str
    """What is missing, or how far it is; empty when nothing is."""
    digest: str
    """Of the order that it serves; empty before it is known."""


class ListedCorpus(Answer):
    """One corpus, as this replica serves it."""

    prefix: str
    """First segment of its paths; empty: paths without a prefix."""
    default: bool
    state: CorpusState
    """`waiting`, `preparing`, `mapping`, `ready`, `conflict` (others serve another order), `failed` or `leaving`."""
    detail: str
    """What is missing, or how far it is; empty when it is ready."""
    revision: str | None
    """Null until it is mapped, as all below."""
    digest: str | None
    """Of names and order: what positions in requests mean."""
    premises: int | None
    modules: int | None
    namespace: str | None
    """The embedding space of its vectors; null also where its maker did not say."""
    replicas: list[CorpusOfProcess]
    """All API processes that report; empty while Redis is away."""
    preparers: list[CorpusOfProcess]
    """Those that prepare it, one for each data folder."""


class ListedCorpora(Answer):
    """The default corpus first, then by prefix."""

    corpora: list[ListedCorpus]
    redis_reachable: bool
    """Without Redis only this replica's own state is known."""


class ChangedCorpus(Answer):
    """What is wanted from now on; `GET /corpora` tells how far it is."""

    prefix: str
    wanted: bool
    changed: bool
    """False where it was so before."""
