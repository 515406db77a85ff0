"""The clinic's part of the imaging demo: two blind tests of the trained detector, and a request for pictures.

One service is set to the operating point at which it does best on its own pictures; the other to one at which the model
hardly ever says anything, so that a test has something to find out.
"""

from __future__ import annotations

import tarfile
from contextlib import closing
from typing import Final

import numpy as np

from medfed.crypto import system_entropy
from medfed.demo.imaging_place import AUDITOR, CLINIC
from medfed.demo.imaging_tour_state import Tour
from medfed.demo.place import PASSPHRASE
from medfed.diagnosis.blind_record import service_record
from medfed.errors import Unavailable
from medfed.federation.model_file import Model
from medfed.federation.plan import BoxesTarget
from medfed.hospital.acting import acting_for
from medfed.hospital.blind_asking import ask_service, read_material
from medfed.hospital.blind_testing import BlindVerdict, serve_model, verdict_of
from medfed.hospital.exchange_material import pack_images
from medfed.hospital.exchange_state import offer_file, outcome_of, received_file
from medfed.hospital.site_directory import open_site
from medfed.identifiers import Name
from medfed.imaging.image_set import ImageSet
from medfed.ledger.contracts.blind_test import BlindTest, OfferBlindTests, blind_test, is_offered
from medfed.ledger.contracts.exchange import DataRequest, DecideRequest, RequestData, data_request
from medfed.ledger.contracts.offered_data import ExchangeTerms, offered_dataset

__all__ = ["GOOD_SERVICE", "ask_blindly", "best_operating_point", "request_pictures"]

GOOD_SERVICE: Final[Name] = "east"
_STRICT_SERVICE: Final[Name] = "west"
_OWNER: Final[Name] = "east"
_STRICT: Final = 0.97
_DIAGNOSED: Final = 24
_THRESHOLD: Final = "0.75"
_HOUR_MS: Final = 3600 * 1000
_SECONDS: Final = 900.0
_POINTS: Final = tuple(step / 20 for step in range(2, 19))


def best_operating_point(model: Model, images: ImageSet) -> tuple[float, float]:
    """The score from which findings are best believed, by a site's own pictures, and the share of them that is right.

    A picture is right where exactly the classes are said that were annotated. Of equally good points the middle one.

    Raises:
        InvalidInput: the model is no detector.
    """
    target = model.plan.data.target
    classes = target.classes if isinstance(target, BoxesTarget) else ()
    scores = model.predict(images)
    shown = [{finding.label for finding in picture.findings} for picture in images.pictures]
    truth = np.array([[label in labels for label in classes] for labels in shown])
    shares = [float(((scores >= point) == truth).all(axis=1).mean()) for point in _POINTS]
    best = [point for point, share in zip(_POINTS, shares, strict=True) if share == max(shares)]
    return best[len(best) // 2], max(shares)


def ask_blindly(tour: Tour, model: Model) -> None:
    """Two services are asked about a picture each, hidden among diagnosed ones."""
    story = tour.story
    story.title(f"The {CLINIC} asks about a picture, hidden among {_DIAGNOSED} whose diagnosis it knows")
    services = {GOOD_SERVICE: tour.operating, _STRICT_SERVICE: _STRICT}
    story.say(f"More than {_THRESHOLD} of the {_DIAGNOSED} must be right, or the {CLINIC} reads FALSE.")
    for at, (service, point) in enumerate(services.items()):
        _serve(tour, service, model, point)
        test = _ask(tour, service, model, at)
        verdict = _verdict(tour, test)
        story.say(
            f"{service} believes boxes from a score of {point:g}: {test.equal_codes} of {len(test.cases)} codes agree"
        )
        story.say(f"  {test.phase}; the {CLINIC} reads: {verdict}")
        story.say(f"  the annotators of that picture: {', '.join(tour.place.annotated(at))}")
        accuracy = service_record(tour.place.engine.view(), service, model.digest).accuracy
        tour.asked.append(
            {
                "service": service,
                "operating": point,
                "test": test.test,
                "phase": test.phase,
                "passed": verdict.passed,
                "diagnosis": verdict.diagnosis if verdict.passed else False,
                "equal_codes": test.equal_codes,
                "cases": len(test.cases),
                "threshold": [test.num, test.den],
                "record": None if accuracy is None else [accuracy.share, accuracy.low, accuracy.high],
            }
        )
    story.say("Neither knows which picture was asked about; the ledger has only codes.")
    tour.facts["blind_tests"] = tour.asked


def request_pictures(tour: Tour) -> None:
    """The clinic asks a hospital for its image set; that is granted, delivered, and compared with the ledger."""
    place, story = tour.place, tour.story
    story.title(f"The {CLINIC} asks {_OWNER} for its pictures, to validate the model on them")
    with acting_for(place.site(_OWNER), place.ledger, PASSPHRASE) as acting:
        file = pack_images(place.images(_OWNER).folder, place.site(_OWNER), acting.site.entropy)
        offer = offer_file(acting.site, file, "images", ExchangeTerms(AUDITOR, ("validation",), _HOUR_MS))
        acting.send(offer)
    tour.agents.wait("the offer", lambda: offered_dataset(place.engine.view(), offer.dataset), _SECONDS)
    story.say(f"{_OWNER} offers {offer.size:,} bytes, commitment {offer.commitment.hex()[:32]}…")
    asked = RequestData(system_entropy(16), offer.dataset, "validation")
    tour.send(CLINIC, asked)
    tour.agents.wait("the request", lambda: data_request(place.engine.view(), asked.request), _SECONDS)
    story.say(f"{CLINIC} requests it for validation; {_OWNER} looks at the request and grants it")
    tour.send(_OWNER, DecideRequest(asked.request, True))
    ended = tour.agents.wait("the delivery", lambda: _settled(tour, asked.request), _SECONDS)
    site = open_site(place.site(CLINIC), PASSPHRASE, ledger=place.ledger)
    with closing(site.vault):
        outcome, path = outcome_of(site, asked.request), received_file(site, asked.request)
    if ended.phase != "accepted" or outcome != "good":
        raise Unavailable(f"the delivery ended {ended.phase} ({outcome})")
    with tarfile.open(path) as archive:
        pictures = sum(name.endswith(".png") for name in archive.getnames())
    story.say(f"delivered, decrypted and compared with the commitment: {pictures} pictures, {ended.phase}")
    tour.exchange |= {
        "owner": _OWNER, "requester": CLINIC, "purpose": ended.purpose, "phase": ended.phase, "size": offer.size,
        "pictures": pictures, "commitment": offer.commitment, "file": str(path),
    }  # fmt: skip
    tour.facts["exchange"] = tour.exchange


def _serve(tour: Tour, service: Name, model: Model, operating: float) -> None:
    place = tour.place
    with acting_for(place.site(service), place.ledger, PASSPHRASE) as acting:
        serve_model(acting.site.vault, model.digest, operating)
        acting.send(OfferBlindTests(model.digest, True))
    tour.agents.wait(
        f"the offer of {service}",
        lambda: is_offered(place.engine.view(), service, model.digest) or None,
        _SECONDS,
    )


def _ask(tour: Tour, service: Name, model: Model, at: int) -> BlindTest:
    place = tour.place
    with acting_for(place.site(CLINIC), place.ledger, PASSPHRASE) as acting:
        material = read_material(
            acting.site.blobs, model.digest, place.images(CLINIC).folder, place.undiagnosed[at], cleared=True
        )
        body = ask_service(
            acting.site, acting.view, service, model.digest, material, count=_DIAGNOSED, threshold=_THRESHOLD,
            phase_ms=_HOUR_MS,
        )  # fmt: skip
        acting.send(body)
    return tour.agents.wait(f"the blind test of {service}", lambda: _decided(tour, body.test), _SECONDS)


def _decided(tour: Tour, test: bytes) -> BlindTest | None:
    found = blind_test(tour.place.engine.view(), test)
    return found if found is not None and found.phase in ("passed", "failed", "expired") else None


def _verdict(tour: Tour, test: BlindTest) -> BlindVerdict:
    place = tour.place
    site = open_site(place.site(CLINIC), PASSPHRASE, ledger=place.ledger)
    with closing(site.vault):
        return verdict_of(place.engine.view(), site.vault, test.test)


def _settled(tour: Tour, request: bytes) -> DataRequest | None:
    found = data_request(tour.place.engine.view(), request)
    return found if found is not None and found.phase not in ("requested", "granted", "delivered") else None
