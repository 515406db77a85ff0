from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.study import NAMES, patients, small_plan

import medfed
from medfed.errors import Unavailable
from medfed.federation.plan import MulticlassTarget, Purpose
from medfed.federation.tables import table_from
from medfed.simulation.report.charts import Series, interval_chart, line_chart, timeline


def test_a_hostile_title_is_escaped(tmp_path: Path) -> None:
    plan = replace(small_plan(), purpose=Purpose("<script>alert(1)</script> & co", "x", "none", "testing"))
    study = medfed.simulate(plan, {name: patients(name) for name in NAMES}, progress=False)
    study.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_multiclass_study_has_a_report_too(tmp_path: Path) -> None:
    plan = small_plan()
    plan = replace(plan, data=replace(plan.data, target=MulticlassTarget("ward", ("north", "south", "east"))))
    features = plan.data.features[:2]
    plan = replace(plan, data=replace(plan.data, features=features))
    tables = {name: table_from(dict(patients(name).columns), name=name) for name in NAMES}
    study = medfed.simulate(plan, tables, progress=False)
    study.report(tmp_path / "report.html")
    assert "Own, federated or pooled?" in (tmp_path / "report.html").read_text()


def test_an_unwritable_report_is_unavailable(tmp_path: Path) -> None:
    study = medfed.simulate(small_plan(), {name: patients(name) for name in NAMES}, progress=False)
    with pytest.raises(Unavailable, match="report"):
        study.report(tmp_path / "nowhere" / "report.html")


def test_an_axis_of_scores_begins_at_zero_and_one_of_signed_numbers_below() -> None:
    def lowest(*values: float) -> float:
        drawn = line_chart("t", [Series("s", [(float(at), value) for at, value in enumerate(values)])], "x", "y")
        ticks = re.findall(r'text-anchor="end"[^>]*>(-?[\d.]+)<', drawn)
        return min(map(float, ticks))

    assert lowest(0.0, 0.8) == 0.0
    assert lowest(-0.5, 0.5) < -0.5


def test_charts_without_data_say_so_and_gaps_are_left_out() -> None:
    assert "nothing to show" in line_chart("curve", [Series("a", [])], "x", "y")
    assert "nothing to show" in timeline("t", [], ["a"])
    nan = float("nan")
    assert "nan" not in line_chart("curve", [Series("a", [(1.0, nan), (2.0, 0.5)])], "x", "y")
    assert "nan" not in interval_chart("bars", [("a", [(nan, nan, nan), (0.5, nan, nan)])], ["own", "all"])
