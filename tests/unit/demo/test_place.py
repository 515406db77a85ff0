"""A demo's directory: replaced only by a demo, and only when nobody of the earlier one is at work there any more."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from medfed.demo import place
from medfed.demo.place import demo_keys, prepare_directory
from medfed.errors import Unavailable
from medfed.hospital.site_directory import lock_site


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An earlier demo's directory with one site."""
    prepare_directory(tmp_path / "demo", resume=False)
    demo_keys(tmp_path / "demo" / "sites" / "north", "north")
    return tmp_path / "demo"


def test_a_directory_is_replaced_once_the_earlier_agents_have_ended(earlier: Path) -> None:
    held = threading.Event()

    def work() -> None:
        with lock_site(earlier / "sites" / "north"):
            held.set()
            time.sleep(0.5)
            (earlier / "sites" / "north" / "late").write_text("written at the last moment")

    agent = threading.Thread(target=work)
    agent.start()
    held.wait()
    prepare_directory(earlier, resume=False)
    agent.join()
    assert not (earlier / "sites").exists()
    assert (earlier / ".medfed-demo").is_file()


def test_an_earlier_agent_that_does_not_end_is_said_and_nothing_is_removed(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_GRACE_SECONDS", 0.2)
    with lock_site(earlier / "sites" / "north"), pytest.raises(Unavailable, match="another agent is running"):
        prepare_directory(earlier, resume=False)
    assert (earlier / "sites" / "north").is_dir()
