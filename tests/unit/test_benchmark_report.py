from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.comparison import Comparison, medians
from tests.benchmarks.report import BEGIN, END, as_line, number, write_report, write_sections


def search(ratio: float) -> Comparison:
    return Comparison(
        section="Search", what="one query", ours=2.0, unit="ms", theirs=2.0 * ratio, alternative="flat | bitmap",
        ratio=ratio, target=3,
    )  # fmt: skip


def test_a_line_says_whether_its_target_was_reached() -> None:
    assert as_line(search(4)).endswith("| 4× | ≥ 3×, reached |")
    assert as_line(search(2.5)).endswith("| 2.5× | ≥ 3×, **missed** |")
    assert "flat \\| bitmap" in as_line(search(4))


def test_a_figure_without_a_ratio_is_to_be_small() -> None:
    line = Comparison(section="Start", what="ready", ours=0.5, unit="s", target=3)
    assert line.reached
    assert as_line(line) == "| ready | 0.5 s |  |  |  | ≤ 3, reached |"


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (6.7e-8, "6.7e-08"), (0.0512, "0.0512"), (15, "15"), (9677.9, "9,678")]
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_report_replaces_the_one_before_and_leaves_the_rest(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_report([search(4)], document, seconds=120)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "in 2 minutes" in text
    assert (tmp_path / "performance.svg").read_text().startswith("<?xml")


def test_a_section_of_its_own_run_replaces_the_one_before_and_leaves_the_others(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"head\n{BEGIN}\n\nBy all.\n\n### Search\n\nold\n\n### Start\n\nkept\n\n{END}\ntail\n")
    for ratio in (4, 5):
        write_sections([search(ratio)], document, seconds=60)
    text = document.read_text()
    assert text.startswith(f"head\n{BEGIN}\n\nBy all.\n\n### Search\n\nBy a run of its own: 1 minutes on ")
    assert text.endswith(f"| 5× | ≥ 3×, reached |\n\n### Start\n\nkept\n\n{END}\ntail\n")
    assert text.count("### Search") == 1
    assert "old" not in text
    write_sections([replace(search(6), section="New")], document, seconds=60)
    _, others, new = document.read_text().partition("### Start\n\nkept\n\n### New\n\n")
    assert others
    assert new.endswith(f"| 6× | ≥ 3×, reached |\n\n{END}\ntail\n")


def test_a_document_without_a_place_for_the_report_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("nothing here")
    with pytest.raises(ValueError, match="no place"):
        write_report([search(4)], document, seconds=1)


def test_arms_take_turns() -> None:
    calls: list[str] = []
    medians([lambda: calls.append("a"), lambda: calls.append("b")], rounds=2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
