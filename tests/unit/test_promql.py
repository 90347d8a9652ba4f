"""The reader of PromQL sees what is wrong with an expression; `promtool` and a Prometheus see the rest."""

import pytest

from tests.promql import Expression, problems

EXPORTED = {"hits_total": {"tier"}, "seconds_bucket": {"le", "route"}, "depth": {"class"}, "info": {"revision"}}
TYPES = {"hits_total": "counter", "seconds_bucket": "histogram", "depth": "gauge", "info": "gauge"}


@pytest.mark.parametrize(
    "text",
    [
        'sum by (tier) (rate(hits_total{tier=~"a|b"}[5m])) / 2 > 0.5',
        "histogram_quantile(0.95, sum by (le, route) (rate(seconds_bucket[5m])))",
        "max(depth) and on (instance) depth > 0",
        "max by (revision) (depth * on (instance) group_left (revision) info)",
        'absent(up{job="premises"} == 1)',
        'sum(rate(hits_total[5m])) > 0.05 * sum(rate(hits_total{instance="x"}[5m]))',
    ],
)
def test_an_expression_that_works_has_no_problems(text: str) -> None:
    assert problems(text, EXPORTED, TYPES) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sum(rate(misses_total[5m]))", "misses_total is not exported"),
        ('rate(hits_total{class="a"}[5m])', "hits_total has no label class"),
        ("sum by (route) (rate(hits_total[5m]))", "nothing here has the label route"),
        ("sum(hits_total)", "hits_total is a counter in sum"),
        ("rate(depth[5m])", "depth is a gauge in rate"),
        ("1 + 2", "asks for nothing"),
    ],
)
def test_what_cannot_work_is_named(text: str, problem: str) -> None:
    assert problems(text, EXPORTED, TYPES) == [problem]


def test_an_unknown_function_and_an_unknown_sign_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown function"):
        Expression("smooth(depth)")
    with pytest.raises(ValueError, match="cannot read"):
        Expression("depth ? 1")
