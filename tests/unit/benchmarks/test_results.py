from __future__ import annotations

from benchmarks.harness import Section, Target
from benchmarks.results import render, table


def test_a_tables_columns_line_up() -> None:
    lines = table(("a", "longer"), [("1", "2"), ("three", "4")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.count("|") for line in lines] == [3, 3, 3, 3]


def test_a_target_that_is_missed_is_said_to_be() -> None:
    targets = [Target("fast", 5.0, 12.0, "ns"), Target("slow", 13.0, 12.0, "ns")]
    page = render([Section("Speed", "A note.", ("", "ns"), [("fast", "5.0")], targets)])
    fast, slow = (line for line in page.splitlines() if "≤ 12 ns" in line)
    assert "met" in fast
    assert "not" not in fast
    assert "**not met**" in slow


def test_results_name_the_processor_and_the_commit_but_no_path() -> None:
    page = render([])
    assert "cores" in page
    assert "commit" in page
    for place in ("/home", "/root", ".venv"):
        assert place not in page


def test_numbers_are_written_out_and_no_longer_than_they_mean() -> None:
    targets = [Target(str(found), found, 6_000.0, "", at_most=False) for found in (13_356.4, 4.275, 0.5877, 60.0)]
    page = render([Section("", "", ("",), [], targets)])
    for text in ("| 13,356 ", "| 4.28 ", "| 0.588 ", "| 60 ", "≥ 6,000 "):
        assert text in page
