"""The service's side of blind tests at a site: the model that it has registered, as a function from cases to diagnoses.

A model is read from the site's blobs by the digest that is on the ledger, so what answers is what was registered. It is
asked in the site's worker, as it was trained there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medfed.blobs import awaiting_good_copy
from medfed.diagnosis.blind_sides import Diagnosis
from medfed.encoding import decode, digest_of, encode
from medfed.errors import InvalidInput, Unavailable
from medfed.federation.model_file import decode_model
from medfed.hospital.blind_labels import candidates_of
from medfed.hospital.blind_pictures import diagnose_pictures
from medfed.hospital.blind_table import diagnose_rows
from medfed.hospital.blind_testing import Diagnose, served_model
from medfed.hospital.site import Site
from medfed.hospital.worker import Task
from medfed.identifiers import Digest, short
from medfed.models.course import Checkpoints

__all__ = ["diagnosing"]


def diagnosing(site: Site, model: Digest) -> Diagnose:
    """What answers with `model` at this site. The model is opened when it is first asked.

    Raises:
        Unavailable: (when asked) the model's blob is not here, or is no model that this program can ask.
        InvalidInput: (when asked) a case is not one of its kind.
    """
    if site.diagnose is not None:
        return site.diagnose(model)

    def registered(cases: Sequence[bytes]) -> Sequence[Diagnosis]:
        name = f"blind test of model {model.hex()[:12]}"
        of = digest_of("medfed/blind-cases", tuple(cases))
        return site.worker.do(Task(name, name, of, lambda: _asked(site, model, cases), encode, _read))

    return registered


def _asked(site: Site, model: Digest, cases: Sequence[bytes]) -> Callable[[Checkpoints], tuple[Diagnosis, ...]]:
    operating = served_model(site.vault, model).operating / 1_000_000
    name = f"the model {short(model)} that this site offers"
    try:
        with awaiting_good_copy(name):
            found = decode_model(site.blobs.get(model))
        candidates_of(found.plan.data.target)
    except InvalidInput as error:  # not the requester's fault, whose cases are not looked at
        raise Unavailable(f"{name} cannot be asked: {error}") from None
    picture = found.plan.data.picture
    if picture is not None:
        return lambda _: tuple(diagnose_pictures(found.plan, picture, found.parameters, cases, operating))
    return lambda _: tuple(diagnose_rows(found, cases, operating))


def _read(data: bytes) -> tuple[Diagnosis, ...]:
    return decode(data, tuple[Diagnosis, ...])
