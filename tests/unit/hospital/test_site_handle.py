"""A site from Python: the passphrase's places, and what is not there said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.processes import LEDGER, PASSPHRASE, make_consortium, propose

import medfed
from medfed.errors import InvalidInput, Refused
from medfed.hospital.site_handle import passphrase_from_environment


@pytest.fixture(autouse=True)
def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDFED_PASSPHRASE", raising=False)
    monkeypatch.delenv("MEDFED_PASSPHRASE_FILE", raising=False)


def test_the_passphrase_is_taken_from_the_variable_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\r\n")
    assert passphrase_from_environment() is None
    monkeypatch.setenv("MEDFED_PASSPHRASE_FILE", str(file))
    assert passphrase_from_environment() == "from the file"
    monkeypatch.setenv("MEDFED_PASSPHRASE", "from the variable")
    assert passphrase_from_environment() == "from the variable"


@pytest.mark.parametrize(("content", "reason"), [(None, "MEDFED_PASSPHRASE_FILE"), (b"\xff\xfe", "not UTF-8")])
def test_a_passphrase_file_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("MEDFED_PASSPHRASE_FILE", str(file))
    with pytest.raises(InvalidInput, match=reason):
        passphrase_from_environment()


def test_a_site_needs_a_passphrase_a_study_that_exists_and_a_model_that_is_registered(tmp_path: Path) -> None:
    root = make_consortium(tmp_path)
    site, ledger = root / "sites" / "cleveland", root / LEDGER
    with pytest.raises(InvalidInput, match="no passphrase"):
        medfed.Site.open(site, ledger)
    handle = medfed.Site.open(site, ledger, PASSPHRASE)
    assert handle.studies() == []
    handle.run(seconds=0.0)
    with pytest.raises(InvalidInput, match="not on this ledger"):
        handle.approve("00" * 16)
    study = propose(root)
    with pytest.raises(InvalidInput, match="no model is registered"):
        handle.model(study)
    handle.decline(study, "not-now")
    assert handle.studies()[0].declined == ("cleveland",)
    with pytest.raises(Refused):
        handle.decline(study, "not-now")
