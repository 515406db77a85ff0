"""A blind test with both sides as processes: a registered model, a hospital's own patients, the answer or FALSE."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.processes import (
    DATA,
    LEDGER,
    PASSPHRASE,
    finish,
    kill,
    make_consortium,
    medfed,
    propose,
    run_together,
    start_agent,
    stop_all,
    write_site_file,
)

from medfed import Site
from medfed.demo.heart import COLUMNS, FILES
from medfed.errors import InvalidInput, Refused
from medfed.ledger.contracts.blind_test import blind_tests
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.store import reading

pytestmark = pytest.mark.slow
ROWS = (DATA / FILES["cleveland"]).read_text().splitlines()
ON = ("--ledger", LEDGER)
SIDES = ("cleveland", "hungary")
ASKER = (*ON, "--site", "sites/cleveland")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hospitals whose study has ended: each has the model."""
    root = make_consortium(tmp_path_factory.mktemp("finished"))
    propose(root)
    try:
        finish({name: start_agent(root, name) for name in FILES})
    finally:
        stop_all()
    return root


@pytest.fixture
def consortium(finished: Path, tmp_path: Path) -> Path:
    root = tmp_path / "heart"
    shutil.copytree(finished, root)
    for name in FILES:
        write_site_file(root, name)
    (root / "diagnosed.csv").write_text("\n".join(ROWS[:-1]) + "\n")
    (root / "one.csv").write_text(ROWS[-1] + "\n")
    return root


def offer(root: Path) -> str:
    serving = medfed(root, "blind-test", "serve", model_of(root), *ON, "--site", "sites/hungary", "--json")
    facts = json.loads(serving.stdout)
    assert facts["offered"]
    return facts["model"]


def model_of(root: Path) -> str:
    with reading(root / LEDGER) as store:
        return next(one.artefact.hex() for one in artefacts(store.view()) if one.kind == "model")


def ask(root: Path, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    settings = ("--service", "hungary", "--model", model_of(root)[:12], "--columns", ",".join(COLUMNS), *more)
    return medfed(root, "blind-test", "ask", "diagnosed.csv", "one.csv", *ASKER, *settings, "--json", code=code)


def show(root: Path, test: str, site: str = "cleveland", code: int = 0) -> subprocess.CompletedProcess[str]:
    return medfed(root, "blind-test", "show", test, *ON, "--site", f"sites/{site}", "--json", code=code)


def run_both(root: Path) -> dict[str, str]:
    try:
        return finish({name: start_agent(root, name) for name in ("cleveland", "hungary")})
    finally:
        stop_all()


def phase_of(root: Path) -> str:
    with reading(root / LEDGER) as store:
        return blind_tests(store.view())[0].phase


def test_from_a_table_of_diagnosed_patients_to_the_answer_and_the_public_record(consortium: Path) -> None:
    model = offer(consortium)
    test = json.loads(ask(consortium, "--count", "120", "--threshold", "0.62").stdout)["test"]
    assert json.loads(show(consortium, test).stdout)["phase"] == "open"
    run_both(consortium)
    shown = json.loads(show(consortium, test).stdout)
    assert (shown["phase"], shown["passed"]) == ("passed", True)
    assert shown["diagnosis"] in (["num: negative"], ["num: positive"])
    plain = medfed(consortium, "blind-test", "show", test[:10], *ASKER)
    assert plain.stdout.strip() == shown["diagnosis"][0]
    record = json.loads(medfed(consortium, "blind-test", "record", *ON, "--json").stdout)["services"]
    (service,) = record
    assert (service["service"], service["model"], service["offered"]) == ("hungary", model, True)
    assert service["accuracy"]["low"] < service["accuracy"]["share"] < service["accuracy"]["high"]
    assert service["accuracy"]["share"] > 0.6
    assert service["rows"][0]["counts"]["passed"] == 1
    assert "hungary" in medfed(consortium, "blind-test", "record", *ON).stdout
    assert "passed" in medfed(consortium, "blind-test", "list", *ON).stdout
    assert "none of this id" in show(consortium, test, "hungary", code=2).stderr
    again = ask(consortium, "--count", "120", "--threshold", "0.62", code=3)
    assert "has had this image before" in again.stderr
    medfed(consortium, "ledger", "verify", LEDGER)


def test_from_python_to_the_answer(consortium: Path) -> None:
    sites = {name: Site.open(consortium / "sites" / name, consortium / LEDGER, PASSPHRASE) for name in SIDES}
    model, asker = model_of(consortium)[:12], sites["cleveland"].blind_tests
    files = (consortium / "diagnosed.csv", consortium / "one.csv")
    sites["hungary"].blind_tests.serve(model, 0.5)
    test = asker.ask("hungary", model, *files, count=120, threshold="0.62", columns=COLUMNS)
    assert asker.verdict(test[:8]) is None
    with pytest.raises(Refused, match=f"in test {test}"):
        asker.ask("hungary", model, *files, count=120, threshold="0.62", columns=COLUMNS)
    run_together(sites)
    verdict = asker.verdict(test[:8])
    assert verdict is not None
    assert verdict.diagnosis in (("num: negative",), ("num: positive",))
    assert asker.record("hungary", model).rows[0].counts.passed == 1
    assert [found.phase for found in asker.list()] == ["passed"]
    with pytest.raises(InvalidInput, match="none of this id"):
        sites["hungary"].blind_tests.verdict(test)
    with pytest.raises(Refused, match="nothing left to stop"):
        asker.stop(test)
    sites["hungary"].blind_tests.stop_serving(model)
    with pytest.raises(Refused, match="does not offer"):
        asker.ask("hungary", model, *files, count=120, threshold="0.62", columns=COLUMNS)


def test_a_service_that_is_not_good_enough_gives_false_and_nothing_else(consortium: Path) -> None:
    offer(consortium)
    test = json.loads(ask(consortium, "--count", "120", "--threshold", "0.97").stdout)["test"]
    run_both(consortium)
    shown = json.loads(show(consortium, test).stdout)
    assert (shown["phase"], shown["passed"], shown["diagnosis"]) == ("failed", False, False)
    assert medfed(consortium, "blind-test", "show", test, *ASKER).stdout.strip() == "FALSE"


def test_both_sides_killed_in_the_middle_go_on_to_one_verdict(consortium: Path) -> None:
    """Each dies once, at the first effect that is due to it."""
    offer(consortium)
    test = json.loads(ask(consortium, "--count", "120", "--threshold", "0.62").stdout)["test"]
    service = start_agent(consortium, "hungary")
    try:
        while phase_of(consortium) == "open":
            time.sleep(0.005)
        kill(service)
        asker = start_agent(consortium, "cleveland")
        while phase_of(consortium) == "answered":
            time.sleep(0.005)
        kill(asker)
        assert phase_of(consortium) == "revealed"
        finish({name: start_agent(consortium, name) for name in ("cleveland", "hungary")})
    finally:
        stop_all()
    assert json.loads(show(consortium, test).stdout)["phase"] == "passed"
    counts = json.loads(medfed(consortium, "blind-test", "record", *ON, "--json").stdout)["services"][0]["rows"][0]
    assert counts["counts"]["passed"] == 1


def test_a_service_that_is_silent_ends_the_test_and_is_recorded(consortium: Path) -> None:
    offer(consortium)
    test = json.loads(ask(consortium, "--count", "120", "--threshold", "0.62", "--hours", "0.0005").stdout)["test"]
    try:
        finish({"cleveland": start_agent(consortium, "cleveland")})
    finally:
        stop_all()
    shown = json.loads(show(consortium, test).stdout)
    assert (shown["phase"], shown["awaited"], shown["diagnosis"]) == ("expired", "service", False)


def test_what_is_wrong_with_a_question_is_said_in_one_line_and_nothing_is_sent(consortium: Path) -> None:
    assert "does not offer" in ask(consortium, code=3).stderr
    offer(consortium)
    assert "guesses passes" in ask(consortium, "--count", "10", "--threshold", "0.5", code=3).stderr
    assert "expected a share" in ask(consortium, "--threshold", "70%", code=2).stderr
    (consortium / "one.csv").write_text("\n".join(ROWS[-2:]) + "\n")
    assert "expected one row" in ask(consortium, code=2).stderr
    (consortium / "one.csv").write_text(ROWS[-1].replace(",", ";") + "\n")
    refused = ask(consortium, code=2)
    assert ROWS[-1].split(",")[3] + ";" not in refused.stderr
    assert json.loads(medfed(consortium, "blind-test", "list", *ON, "--json").stdout)["tests"] == []
    assert "no blind test" in show(consortium, "00", code=2).stderr
