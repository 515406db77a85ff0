"""`medfed.Site`: a hospital's site from Python, as `medfed agent` and `medfed study` use it from the command line."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from medfed.blobs import DirectoryBlobs
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.federation.model_file import Model, decode_model
from medfed.hospital.agent_loop import LOCK_PATIENCE, agent_on, run_agent
from medfed.hospital.blind_test_handle import BlindTests
from medfed.hospital.exchange_handle import Exchange
from medfed.hospital.site_directory import open_site, read_public, shared_blobs
from medfed.identifiers import Name, StudyId, parse_study_id
from medfed.input_file import read_input
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.contracts.studies import ApproveStudy, DeclineStudy, Study, studies, study_record
from medfed.ledger.store import reading
from medfed.ledger.transaction import Body

__all__ = ["SiteHandle", "passphrase_from_environment"]

_LONGEST_PASSPHRASE: Final = 4096


def passphrase_from_environment() -> str | None:
    """MEDFED_PASSPHRASE, or what is in the file that MEDFED_PASSPHRASE_FILE names.

    Raises:
        InvalidInput: the file cannot be read.
    """
    if found := os.environ.get("MEDFED_PASSPHRASE"):
        return found
    file = os.environ.get("MEDFED_PASSPHRASE_FILE")
    if not file:
        return None
    try:
        return read_input(Path(file), _LONGEST_PASSPHRASE, f"MEDFED_PASSPHRASE_FILE: {file}").decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"MEDFED_PASSPHRASE_FILE: {file}: not UTF-8") from None


class SiteHandle:
    """One site directory and the embedded ledger that it works on."""

    def __init__(self, directory: Path, ledger: Path, passphrase: str) -> None:
        self._directory = directory
        self._ledger = ledger
        self._passphrase = passphrase

    @staticmethod
    def open(path: Path | str, ledger: Path | str, passphrase: str | None = None) -> SiteHandle:
        """The site in the directory `path`, on the ledger file `ledger`; the passphrase may come from the environment.

        Raises:
            InvalidInput: no site, no ledger, no passphrase or a wrong one.
        """
        secret = passphrase if passphrase is not None else passphrase_from_environment()
        if secret is None:
            raise InvalidInput("no passphrase: pass it, or set MEDFED_PASSPHRASE_FILE or MEDFED_PASSPHRASE")
        handle = SiteHandle(Path(path), Path(ledger), secret)
        open_site(handle._directory, secret, ledger=handle._ledger).vault.close()
        with reading(handle._ledger):
            return handle

    @property
    def name(self) -> Name:
        """The participant's name."""
        return read_public(self._directory).name

    @property
    def blind_tests(self) -> BlindTests:
        """Second opinions that must prove themselves: asking for them, and giving them."""
        return BlindTests(self._directory, self._ledger, self._passphrase)

    @property
    def exchange(self) -> Exchange:
        """Data that other hospitals offer or ask for."""
        return Exchange(self._directory, self._ledger, self._passphrase)

    def studies(self) -> list[Study]:
        """All studies of the ledger, in the order in which they were proposed."""
        with reading(self._ledger) as store:
            view = store.view()
            found = [study_record(view, identifier) for identifier in studies(view)]
        return [record for record in found if record is not None]

    def approve(self, study: str | StudyId) -> None:
        """Approve exactly what was proposed.

        Raises:
            Refused: a rule said no. Unavailable: an agent is running on this site.
        """
        record = self._need(study)
        self._send(ApproveStudy(record.study, record.digest))

    def decline(self, study: str | StudyId, code: str = "declined") -> None:
        """Decline a proposed study, with a reason code.

        Raises:
            Refused: a rule said no. Unavailable: an agent is running on this site.
        """
        self._send(DeclineStudy(self._need(study).study, code))

    def run(self, *, until_complete: bool = True, seconds: float | None = None) -> None:
        """Run this site's agent here, until its studies have ended or the time is up.

        Raises:
            Unavailable: another agent is running on this site. Tampered: the ledger contradicts the vault.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with agent_on(self._directory, self._ledger, self._passphrase, patience=LOCK_PATIENCE) as agent:
            run_agent(agent, lambda: end is not None and time.monotonic() > end, until_complete=until_complete)

    def model(self, study: str | StudyId) -> Model:
        """The model that a completed study has registered.

        Raises:
            InvalidInput: there is none. Unavailable: its blob is not here.
        """
        record = self._need(study)
        with reading(self._ledger) as store:
            view = store.view()
            found = [entry.artefact for entry in artefacts(view) if entry.study == record.study]
        if not found:
            raise InvalidInput(f"study {record.study.hex()}: no model is registered")
        return decode_model(DirectoryBlobs(shared_blobs(self._ledger)).get(found[0]))

    def _need(self, study: str | StudyId) -> Study:
        identifier = parse_study_id(study) if isinstance(study, str) else study
        with reading(self._ledger) as store:
            view = store.view()
            record = study_record(view, identifier)
        if record is None:
            raise InvalidInput(f"study {identifier.hex()}: not on this ledger")
        return record

    def _send(self, body: Body) -> None:
        with agent_on(self._directory, self._ledger, self._passphrase) as agent:
            receipt = agent.send(body)
        if receipt.height is None:
            raise Unavailable(f"the transaction entered no block: {receipt.message}")
        if receipt.code:
            raise Refused(receipt.code, receipt.message)
