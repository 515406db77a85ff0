"""The service's side of blind tests at a site: the model that it has registered, as a function from cases to diagnoses.

A model is read from the site's blobs by the digest that is on the ledger, so what answers is what was registered.
"""

from __future__ import annotations

from collections.abc import Sequence

from medfed.diagnosis.blind_sides import Diagnosis
from medfed.errors import Unavailable
from medfed.federation.model_file import decode_model
from medfed.hospital.blind_labels import candidates_of
from medfed.hospital.blind_pictures import diagnose_pictures
from medfed.hospital.blind_table import diagnose_rows
from medfed.hospital.blind_testing import Diagnose, served_model
from medfed.hospital.site import Site
from medfed.identifiers import Digest

__all__ = ["diagnosing"]


def diagnosing(site: Site, model: Digest) -> Diagnose:
    """What answers with `model` at this site. The model is opened when it is first asked.

    Raises:
        Unavailable: (when asked) the model's blob is not here. InvalidInput: (when asked) it is no model that this
            program can ask, or a case is not one of its kind.
    """
    if site.diagnose is not None:
        return site.diagnose(model)

    def registered(cases: Sequence[bytes]) -> Sequence[Diagnosis]:
        operating = served_model(site.vault, model).operating / 1_000_000
        try:
            data = site.blobs.get(model)
        except Unavailable:
            raise Unavailable(f"the model {model.hex()[:12]} that this site offers is not among its blobs") from None
        found = decode_model(data)
        candidates_of(found.plan.data.target)
        picture = found.plan.data.picture
        if picture is not None:
            return diagnose_pictures(found.plan, picture, found.parameters, cases, operating)
        return diagnose_rows(found, cases, operating)

    return registered
