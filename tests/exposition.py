"""`/metrics` as tests read it: parsed, and as differences between two scrapes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    """One answer of `/metrics`."""

    families: dict[str, Metric]
    values: dict[tuple[str, Labels], float] = field(repr=False)

    @classmethod
    def of(cls, text: str) -> "Scrape":
        """Parse an exposition; fails where a sample is there twice."""
        families = {family.name: family for family in text_string_to_metric_families(text)}
        values: dict[tuple[str, Labels], float] = {}
        for family in families.values():
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in values, key
                values[key] = sample.value
        return cls(families, values)

    @classmethod
    def from_api(cls, url: str, key: str = "") -> "Scrape":
        """Ask an API process, on a connection of its own."""
        answer = httpx.get(f"{url}/metrics", timeout=60, headers={"Authorization": f"Bearer {key}"} if key else None)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return cls.of(answer.text)

    def __getitem__(self, name: str) -> float:
        return self.value(name)

    def value(self, name: str, **labels: str) -> float:
        """The value of the one sample that has these labels among its own; fails where there is none, or another."""
        found = [value for sample, having, value in self._samples() if sample == name and labels.items() <= having]
        assert len(found) == 1, (name, labels, len(found))
        return found[0]

    def total(self, name: str, **labels: str) -> float:
        """The sum over the samples that have these labels among their own."""
        return sum(value for sample, having, value in self._samples() if sample == name and labels.items() <= having)

    def label_names(self) -> dict[str, set[str]]:
        """The labels of each sample name."""
        names: dict[str, set[str]] = {}
        for name, labels, _ in self._samples():
            names.setdefault(name, set()).update(label for label, _ in labels)
        return names

    def sample_types(self) -> dict[str, str]:
        """The type of each sample name's family."""
        return {sample.name: family.type for family in self.families.values() for sample in family.samples}

    def labels_of(self, family: Metric) -> set[str]:
        """The labels of a family, without the bound of a histogram's bucket."""
        return {label for sample in family.samples for label in sample.labels} - {"le"}

    def _samples(self) -> Iterator[tuple[str, Labels, float]]:
        return ((name, labels, value) for (name, labels), value in self.values.items())


@dataclass(frozen=True)
class Growth:
    """What has changed between two scrapes."""

    before: Scrape
    after: Scrape

    def __call__(self, name: str, **labels: str) -> float:
        """By how much the one sample with these labels grew; it must have been there before, too."""
        return self.after.value(name, **labels) - self.before.value(name, **labels)

    def changed(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """By label set, what grew of a name; fails where a series was not there before."""
        keys = [key for key in self.after.values if key[0] == name]
        assert [key for key in keys if key not in self.before.values] == []
        grown = {key: self.after.values[key] - self.before.values[key] for key in keys}
        return {tuple(sorted(key[1])): value for key, value in grown.items() if value}
