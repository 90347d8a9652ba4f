"""What `/corpora` tells: each corpus as this replica serves it, and how far the other processes are."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from api.corpora_schema import CorpusOfProcess, ListedCorpora, ListedCorpus
from shared.corpus_reports import CorpusReport, Kind, ProcessReport, read_reports
from shared.redis_client import RedisError

if TYPE_CHECKING:
    from api.service import Service


async def list_corpora(service: "Service") -> ListedCorpora:
    """The corpora that are wanted or still in use; without Redis, this replica's own states."""
    try:
        reports, reachable = await read_reports(service.side.client), True
    except RedisError:
        reports, reachable = [], False
    own = sorted(service.follower.reports().items())
    listed = [describe_corpus(service, prefix, report, reports) for prefix, report in own]
    return ListedCorpora(corpora=listed, redis_reachable=reachable)


def describe_corpus(
    service: "Service", prefix: str, report: CorpusReport, reports: Sequence[ProcessReport]
) -> ListedCorpus:
    """One of them."""
    corpus = service.corpora.find(prefix) if prefix else service.corpora.default
    snapshot = corpus.retriever.snapshot if corpus and corpus.retriever else None
    return ListedCorpus(
        prefix=prefix,
        default=not prefix,
        state=report.state,
        detail=report.detail,
        revision=snapshot and snapshot.manifest.revision,
        digest=snapshot and snapshot.manifest.corpus_digest,
        premises=snapshot and snapshot.manifest.rows,
        modules=snapshot and len(snapshot.modules),
        namespace=snapshot and snapshot.manifest.namespace,
        replicas=_of_processes(prefix, reports, "replica"),
        preparers=_of_processes(prefix, reports, "preparer"),
    )


def _of_processes(prefix: str, reports: Sequence[ProcessReport], kind: Kind) -> list[CorpusOfProcess]:
    return [
        CorpusOfProcess(process=each.process, **asdict(each.corpora[prefix]))
        for each in reports
        if each.kind == kind and prefix in each.corpora
    ]
