"""Blind tests from Python: what `medfed blind-test` does, for `medfed.Site.blind_tests`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from medfed.diagnosis.blind_record import ServiceRecord, service_record
from medfed.hospital.acting import Acting, acting_for
from medfed.hospital.blind_asking import ask_service, read_material
from medfed.hospital.blind_testing import BlindVerdict, serve_model, stop_blind_test, verdict_of
from medfed.hospital.lookup import find_blind_test, find_model
from medfed.hospital.site_directory import open_site
from medfed.ledger.contracts.blind_test import BlindTest, OfferBlindTests, blind_tests, is_offered
from medfed.ledger.store import reading

__all__ = ["BlindTests"]

_HOUR_MS: Final = 3_600_000
_DECIDED: Final = ("passed", "failed", "expired")


class BlindTests:
    """One site's blind tests. Models and tests are named by the first digits of their identifiers.

    What goes on the ledger is sent at once, or left for the site's agent where that is running; it does the rest.
    """

    def __init__(self, directory: Path, ledger: Path, passphrase: str) -> None:
        self._directory, self._ledger, self._passphrase = directory, ledger, passphrase

    def serve(self, model: str, operating: float = 0.5) -> None:
        """Offer a registered model for blind tests; this site's agent answers.

        Args:
            model: its digest.
            operating: the score from which a finding is said to be there.

        Raises:
            InvalidInput: no such model, or no score between 0 and 1. Refused: a rule said no.
        """
        with self._acting() as acting:
            digest = find_model(acting.view, model)
            serve_model(acting.site.vault, digest, operating)
            if not is_offered(acting.view, acting.site.name, digest):
                acting.send(OfferBlindTests(digest, True))

    def stop_serving(self, model: str) -> None:
        """Take the offer back; tests that are under way go on.

        Raises:
            InvalidInput: no such model. Refused: it is not offered.
        """
        with self._acting() as acting:
            acting.send(OfferBlindTests(find_model(acting.view, model), False))

    def ask(
        self,
        service: str,
        model: str,
        diagnosed: Path | str,
        undiagnosed: Path | str,
        *,
        count: int = 30,
        threshold: str = "0.7",
        hours: float = 24.0,
        columns: Sequence[str] | None = None,
        cleared: bool = False,
    ) -> str:
        """Hide the case in `undiagnosed` among cases of `diagnosed`, and send them; the test's identifier.

        Args:
            service: who is asked.
            model: the digest of one that it offers.
            diagnosed: a CSV file in the format of the model's study; for a model of pictures an image set's folder.
            undiagnosed: a CSV file with one row; for a model of pictures a PNG or JPEG file.
            count: m, how many diagnosed cases go with it, 2 to 256.
            threshold: M, the share that must be right, more than which passes: such as `0.7` or `2/3`.
            hours: for each step.
            columns: the names of the columns, for files without a header line.
            cleared: a person has looked at the undiagnosed picture: no text in it names anybody.

        Raises:
            InvalidInput: a file does not fit the model, a threshold that cannot be passed, too few cases.
            Refused: the service does not offer the model, has had the case before, or could pass by guessing.
        """
        with self._acting() as acting:
            digest = find_model(acting.view, model)
            blobs = acting.site.blobs
            material = read_material(blobs, digest, Path(diagnosed), Path(undiagnosed), columns, cleared=cleared)
            body = ask_service(
                acting.site, acting.view, service, digest, material,
                count=count, threshold=threshold, phase_ms=int(hours * _HOUR_MS),
            )  # fmt: skip
            acting.send(body)
        return body.test.hex()

    def list(self) -> list[BlindTest]:
        """All blind tests of the ledger."""
        with reading(self._ledger) as store:
            return blind_tests(store.view())

    def verdict(self, test: str) -> BlindVerdict | None:
        """The service's diagnosis, or FALSE and nothing else; None while the test is under way.

        Raises:
            InvalidInput: the ledger has no such test of this site; one that is left for a running agent is there a
                moment after `ask`.
        """
        with reading(self._ledger) as store:
            view = store.view()
        found = find_blind_test(view, test)
        if found.phase not in _DECIDED:
            return None
        opened = open_site(self._directory, self._passphrase, ledger=self._ledger)
        try:
            return verdict_of(view, opened.vault, found.test)
        finally:
            opened.vault.close()

    def stop(self, test: str) -> None:
        """Reveal nothing more in a test of this site; it expires, and that stands against whoever was awaited.

        Raises:
            InvalidInput: this site has opened no such test. Refused: its codes are revealed already.
        """
        with self._acting() as acting:
            stop_blind_test(acting.view, acting.site.vault, find_blind_test(acting.view, test).test)

    def record(self, service: str, model: str, confidence: float = 0.95) -> ServiceRecord:
        """What blind tests have found of a service's model: the public record, with its intervals.

        Raises:
            InvalidInput: no such model.
        """
        with reading(self._ledger) as store:
            view = store.view()
        return service_record(view, service, find_model(view, model), confidence)

    def _acting(self) -> AbstractContextManager[Acting]:
        return acting_for(self._directory, self._ledger, self._passphrase)
