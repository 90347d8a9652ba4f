"""What people are shown of a premise beside its name: module, statement, and where Mathlib's documentation has it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from api.retrieval import Retriever
from api.snapshot import Snapshot
from api.statement_table import Statement

DOCUMENTATION_URL = "https://leanprover-community.github.io/mathlib4_docs"
DOCUMENTED_PACKAGES = frozenset({"Batteries", "Init", "Mathlib", "Std"})
"""Modules that begin otherwise are somebody's own: that site knows nothing of them."""


@dataclass(frozen=True, slots=True)
class PremiseDetails:
    """A premise of the corpus."""

    name: str
    module: str
    statement: Statement

    @property
    def documentation(self) -> str | None:
        """Address of its documentation; None where its module is of no package that Mathlib's site documents."""
        components = self.module.split(".")
        if components[0] not in DOCUMENTED_PACKAGES:
            return None
        return f"{DOCUMENTATION_URL}/{'/'.join(map(quote, components))}.html#{quote(self.name, safe='')}"


async def find_details(retriever: Retriever, names: Sequence[str]) -> list[PremiseDetails | None]:
    """Details by name, in the names' order; None for names that the corpus does not have, or left out.

    Reads in a thread: mapped files may have to come from the disk.
    """
    return await asyncio.get_running_loop().run_in_executor(
        retriever.threads, describe_premises, retriever.snapshot, names
    )


def describe_premises(snapshot: Snapshot, names: Sequence[str]) -> list[PremiseDetails | None]:
    """As `find_details`, in this thread."""
    rows = snapshot.find_rows(names)
    known = np.flatnonzero(rows >= 0)
    modules = snapshot.module_of_row[rows[known]].tolist()
    found = dict(zip(known.tolist(), zip(modules, snapshot.statements(rows[known]), strict=True), strict=True))
    details: list[PremiseDetails | None] = [None] * len(names)
    for place, (module, statement) in found.items():
        details[place] = PremiseDetails(names[place], snapshot.modules[module], statement)
    return details
