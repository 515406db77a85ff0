"""Data requests with owner, requester and arbiter as processes: delivered, refused, wrong, disputed either way."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.pictures import drawn, file_of
from tests.support.processes import (
    CHEAP,
    ENVIRONMENT,
    LEDGER,
    MEDFED,
    PASSPHRASE,
    finish,
    kill,
    medfed,
    run_together,
    start_agent,
    stop_all,
)
from tests.support.waiting import wait_until

from medfed import Site
from medfed.blobs import DirectoryBlobs
from medfed.errors import InvalidInput, Refused
from medfed.hospital.site_directory import create_site, shared_blobs
from medfed.ledger.contracts.exchange import data_requests, delivery
from medfed.ledger.store import reading

pytestmark = pytest.mark.slow
ON = ("--ledger", LEDGER)
NAMES = ("north", "south", "west", "auditor")
DATA = np.random.default_rng(5).bytes(3_000_001)


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    for name in NAMES:
        create_site(tmp_path / "sites" / name, name, PASSPHRASE, cost=CHEAP)
    hospitals = [word for name in NAMES[:3] for word in ("--hospital", f"sites/{name}")]
    medfed(tmp_path, "consortium", "init", *ON, "--name", "three", *hospitals, "--auditor", "sites/auditor")
    (tmp_path / "cases.ndjson").write_bytes(DATA)
    return tmp_path


def run(root: Path, site: str, *words: str, code: int = 0) -> Any:
    done = medfed(root, "exchange", *words, *ON, "--site", f"sites/{site}", "--json", code=code)
    return json.loads(done.stdout) if not code else done.stderr


def offer(root: Path, *more: str, data: str = "cases.ndjson", kind: str = "cases") -> str:
    terms = ("--arbiter", "auditor", "--purpose", "research", "--purpose", "training")
    return run(root, "north", "offer", data, "--kind", kind, *terms, *more)["dataset"]


def ask(root: Path, dataset: str) -> str:
    return run(root, "south", "request", dataset[:16], "--purpose", "research")["request"]


def agents(root: Path, *names: str) -> dict[str, subprocess.Popen[str]]:
    return {name: start_agent(root, name) for name in names}


def run_agents(root: Path, *names: str) -> None:
    try:
        finish(agents(root, *names))
    finally:
        stop_all()


def shown(root: Path, request: str) -> dict[str, Any]:
    return json.loads(medfed(root, "exchange", "show", request, *ON, "--json").stdout)["request"]


def received(root: Path, request: str) -> Path:
    return root / "sites" / "south" / "received" / request


def phase(root: Path) -> str:
    with reading(root / LEDGER) as store:
        return data_requests(store.view())[0].phase


def test_what_was_offered_is_asked_for_granted_delivered_and_verified(consortium: Path) -> None:
    request = ask(consortium, offer(consortium))
    run(consortium, "north", "decide", request, "--grant")
    run_agents(consortium, "north", "south")
    assert shown(consortium, request)["phase"] == "accepted"
    target = received(consortium, request)
    assert target.read_bytes() == DATA
    assert target.stat().st_mode & 0o077 == 0
    verified = run(consortium, "south", "verify", request)
    assert (verified["outcome"], verified["file"]) == ("good", str(target.relative_to(consortium)))
    blobs = DirectoryBlobs(shared_blobs(consortium / LEDGER))
    assert list(blobs.digests()) == []  # the encrypted copy is deleted when nobody needs it
    listed = medfed(consortium, "exchange", "list", *ON).stdout
    assert "accepted" in listed
    medfed(consortium, "ledger", "verify", LEDGER)


def test_the_same_by_hand_without_an_agent(consortium: Path) -> None:
    request = ask(consortium, offer(consortium))
    assert "nothing of this is due" in run(consortium, "north", "deliver", request, code=3)
    assert "the owner of this request is north" in run(consortium, "south", "deliver", request, code=3)
    run(consortium, "north", "decide", request, "--grant")
    assert run(consortium, "north", "deliver", request)["request"]["phase"] == "delivered"
    verified = run(consortium, "south", "verify", request)
    assert (verified["request"]["phase"], verified["outcome"]) == ("accepted", "good")
    assert received(consortium, request).read_bytes() == DATA


def test_what_the_rules_refuse_is_said_at_once_although_an_agent_would_send_it(consortium: Path) -> None:
    try:
        agent = start_agent(consortium, "north", until_complete=False)
        lock = consortium / "sites" / "north" / "agent.lock"
        wait_until(lambda: agent.poll() is not None or (lock.is_file() and lock.read_text() == f"{agent.pid}\n"))
        assert agent.poll() is None, agent.communicate()
        terms = ("--kind", "cases", "--purpose", "research", "--arbiter")
        assert "south is not an active auditor (no-arbiter)" in run(
            consortium, "north", "offer", "cases.ndjson", *terms, "south", code=3
        )
        assert run(consortium, "north", "offer", "cases.ndjson", *terms, "auditor")["left_for_agent"]
    finally:
        stop_all()


def test_from_python_by_owner_and_requester(consortium: Path) -> None:
    sites = {name: Site.open(consortium / "sites" / name, consortium / LEDGER, PASSPHRASE) for name in NAMES[:2]}
    north, south = sites["north"].exchange, sites["south"].exchange
    with pytest.raises(InvalidInput, match="expected DATA"):
        north.offer(kind="updates", arbiter="auditor", purposes=["research"], study="00" * 16)
    dataset = north.offer(consortium / "cases.ndjson", kind="cases", arbiter="auditor", purposes=["research"])
    request = south.request(dataset[:16], "research")
    refused = south.request(dataset, "research")
    assert south.received(request) is None
    with pytest.raises(InvalidInput, match="expected 1 to 40"):
        north.refuse(refused, "Because!")
    north.refuse(refused, "asked-twice")
    north.grant(request[:10])
    run_together(sites)
    found = south.received(request)
    assert found is not None
    assert (found.outcome, found.file) == ("good", received(consortium, request))
    assert received(consortium, request).read_bytes() == DATA
    assert {one.request.hex(): one.phase for one in north.requests()} == {request: "accepted", refused: "refused"}
    north.take_back(dataset)
    assert [one.withdrawn for one in south.datasets()] == [True]
    with pytest.raises(Refused, match="no longer on offer"):
        south.request(dataset, "research")


def test_a_rule_of_the_site_decides_and_a_refused_or_late_request_is_not_delivered(consortium: Path) -> None:
    (consortium / "sites" / "north" / "site.toml").write_text(
        '[[exchange.rule]]\ndecision = "decline"\npurposes = ["training"]\ncode = "no-training"\n'
        '[[exchange.rule]]\ndecision = "approve"\nrequesters = ["south"]\n'
    )
    dataset = offer(consortium)
    refused = run(consortium, "south", "request", dataset, "--purpose", "training")["request"]
    granted = ask(consortium, dataset)
    run_agents(consortium, "north", "south")
    assert (shown(consortium, refused)["phase"], shown(consortium, refused)["code"]) == ("refused", "no-training")
    assert shown(consortium, granted)["phase"] == "accepted"
    assert not received(consortium, refused).exists()
    run(consortium, "north", "take-back", dataset)
    assert "no longer on offer" in run(consortium, "south", "request", dataset, "--purpose", "research", code=3)
    late = ask(consortium, offer(consortium, "--hours", "0.0003"))
    run_agents(consortium, "south")
    assert shown(consortium, late)["phase"] == "expired"
    assert "nothing of this is due" in run(consortium, "north", "deliver", late, code=3)


def test_a_file_that_has_changed_since_it_was_offered_is_not_delivered(consortium: Path) -> None:
    request = ask(consortium, offer(consortium))
    run(consortium, "north", "decide", request, "--grant")
    (consortium / "cases.ndjson").write_bytes(DATA[:-1] + b"?")
    done = medfed(consortium, "exchange", "deliver", request, *ON, "--site", "sites/north")
    assert "no longer what was offered" in done.stderr
    assert shown(consortium, request)["phase"] == "granted"
    (consortium / "cases.ndjson").write_bytes(DATA)
    assert run(consortium, "north", "deliver", request)["request"]["phase"] == "delivered"


def test_owner_and_requester_killed_in_the_middle_go_on(consortium: Path) -> None:
    request = ask(consortium, offer(consortium))
    running = agents(consortium, "north", "south")
    try:
        run_until(consortium, "requested", running)
        medfed(consortium, "exchange", "decide", request, "--grant", *ON, "--site", "sites/north")
        while phase(consortium) == "requested":
            time.sleep(0.005)
        kill(running["north"])
        kill(running["south"])
        assert phase(consortium) in ("granted", "delivered", "accepted")
        finish(agents(consortium, "north", "south"))
    finally:
        stop_all()
    assert shown(consortium, request)["phase"] == "accepted"
    assert received(consortium, request).read_bytes() == DATA
    assert [path.name for path in received(consortium, request).parent.iterdir()] == [request]


def run_until(root: Path, wanted: str, running: dict[str, subprocess.Popen[str]]) -> None:
    """Both agents hold their sites' locks, and the request stands where it is wanted."""
    for name in running:
        lock = root / "sites" / name / "agent.lock"
        while not lock.exists() or not lock.read_text().strip():
            time.sleep(0.02)
    assert phase(root) == wanted


def test_an_owner_who_delivers_something_else_loses_the_dispute(consortium: Path) -> None:
    """Its program is changed: it delivers without looking whether the file is what was offered."""
    request = ask(consortium, offer(consortium))
    run(consortium, "north", "decide", request, "--grant")
    (consortium / "cases.ndjson").write_bytes(DATA[::-1])
    cheat(consortium, "medfed.hospital.duties.exchanging.deliver_file = lambda *a: original(*a[:7])")
    run_agents(consortium, "south", "north", "auditor")
    found = shown(consortium, request)
    assert (found["phase"], found["claim"], found["fault"]) == ("decided", "data", "owner")
    assert not received(consortium, request).exists()
    assert (
        "north: found at fault, or silent after a grant, 1 times" in medfed(consortium, "exchange", "list", *ON).stdout
    )
    assert run(consortium, "south", "verify", request)["outcome"] == "data"


def test_a_requester_who_disputes_a_good_delivery_loses_the_dispute(consortium: Path) -> None:
    request = ask(consortium, offer(consortium))
    run(consortium, "north", "decide", request, "--grant")
    run(consortium, "north", "deliver", request)
    cheat(consortium, "medfed.hospital.duties.exchanging.receive_delivery = lambda *a: 'data'", site="south")
    run_agents(consortium, "south", "north", "auditor")
    found = shown(consortium, request)
    assert (found["phase"], found["claim"], found["fault"]) == ("decided", "data", "requester")


def test_a_key_sealed_to_somebody_else_is_replaced_by_the_arbiter_and_the_data_arrives(consortium: Path) -> None:
    request = ask(consortium, offer(consortium))
    run(consortium, "north", "decide", request, "--grant")
    cheat(consortium, "medfed.hospital.duties.exchanging._sealing_key = lambda v, n: own(v, 'west')")
    run_agents(consortium, "south", "north", "auditor")
    found = shown(consortium, request)
    assert (found["phase"], found["claim"], found["fault"]) == ("decided", "key", "nobody")
    verified = run(consortium, "south", "verify", request)
    assert verified["outcome"] == "good"
    assert received(consortium, request).read_bytes() == DATA


def test_a_delivery_damaged_on_its_way_is_not_taken_for_the_owners_fault(consortium: Path) -> None:
    """What is here under the blob's digest is not the blob: nothing is acknowledged, and a good copy mends it."""
    request = ask(consortium, offer(consortium))
    run(consortium, "north", "decide", request, "--grant")
    run(consortium, "north", "deliver", request)
    with reading(consortium / LEDGER) as store:
        found = delivery(store.view(), bytes.fromhex(request))
    assert found is not None
    path = shared_blobs(consortium / LEDGER) / found.blob.hex()[:2] / found.blob.hex()[2:]
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"?")
    verified = run(consortium, "south", "verify", request)
    assert (verified["request"]["phase"], verified["outcome"]) == ("delivered", None)
    path.write_bytes(good)
    assert run(consortium, "south", "verify", request)["outcome"] == "good"


def test_an_image_set_travels_without_where_its_pictures_came_from(consortium: Path) -> None:
    pictures = consortium / "pictures"
    pictures.mkdir()
    for number in range(3):
        (pictures / f"Mrs Smith {number}.png").write_bytes(file_of(drawn(40 + number, 30)))
    (consortium / "coco.json").write_text(
        json.dumps({
            "images": [{"id": n, "file_name": f"Mrs Smith {n}.png", "width": 40 + n, "height": 30} for n in range(3)],
            "annotations": [], "categories": [{"id": 1, "name": "nodule"}],
        })
    )  # fmt: skip
    medfed(consortium, "imaging", "import", "pictures", "set", "--coco", "coco.json", "--label", "nodule")
    request = ask(consortium, offer(consortium, data="set", kind="images"))
    run(consortium, "north", "decide", request, "--grant")
    run_agents(consortium, "north", "south")
    with tarfile.open(received(consortium, request)) as archive:
        names = archive.getnames()
        data = received(consortium, request).read_bytes()
    assert len(names) == 4
    assert b"Smith" not in data
    assert b"origins" not in data


def test_what_is_wrong_with_an_offer_or_a_request_is_said_in_one_line(consortium: Path) -> None:
    terms = ("--arbiter", "auditor", "--purpose", "research")
    assert "expected DATA" in run(consortium, "north", "offer", "--kind", "cases", *terms, code=2)
    assert "expected a file" in run(consortium, "north", "offer", "absent", "--kind", "cases", *terms, code=2)
    wrong = ("--arbiter", "south", "--purpose", "research")
    assert "not an active auditor" in run(
        consortium, "north", "offer", "cases.ndjson", "--kind", "cases", *wrong, code=3
    )
    dataset = offer(consortium)
    assert "owner or arbiter" in run(consortium, "north", "request", dataset, "--purpose", "research", code=3)
    assert "do not allow audit" in run(consortium, "south", "request", dataset, "--purpose", "audit", code=3)
    assert "no dataset" in run(consortium, "south", "request", "ff" * 32, "--purpose", "audit", code=2)
    request = ask(consortium, dataset)
    assert "exactly one of" in run(consortium, "north", "decide", request, code=2)
    assert "expected 1 to 40" in run(consortium, "north", "decide", request, "--refuse", "Because!", code=2)
    assert "is awaited" in run(consortium, "west", "decide", request, "--grant", code=3)


def cheat(root: Path, line: str, site: str = "north") -> None:
    """One step of a site whose program was changed by one line."""
    program = (
        "import medfed.hospital.duties.exchanging as changed, medfed, sys\n"
        "original, own = changed.deliver_file, changed._sealing_key\n"
        f"{line}\n"
        "from pathlib import Path\nfrom medfed.hospital.agent_loop import agent_on\n"
        f"with agent_on(Path('sites/{site}'), Path({LEDGER!r}), {PASSPHRASE!r}) as agent:\n"
        "    while agent.step(): pass\n"
        "    assert not agent.problems, agent.problems\n"
    )
    done = subprocess.run([MEDFED[0], "-c", program], cwd=root, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
