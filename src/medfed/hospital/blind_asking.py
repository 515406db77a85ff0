"""Asking a service from a site: what a hospital has, as the cases of a blind test of one registered model.

A table has rows with their diagnosis in the model's target column; the undiagnosed patient is one more row. An image
set has pictures with a class or findings; the undiagnosed picture is a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

from medfed.blobs import BlobStore
from medfed.diagnosis.blind_sides import BlindCase, Diagnosis
from medfed.errors import InvalidInput
from medfed.federation.model_file import decode_model
from medfed.federation.tables import read_csv
from medfed.hospital.blind_labels import candidates_of
from medfed.hospital.blind_pictures import diagnosed_pictures, picture_case
from medfed.hospital.blind_table import diagnosed_rows, row_cases
from medfed.hospital.blind_testing import open_blind_test
from medfed.hospital.site import Site
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import OpenBlindTest
from medfed.ledger.engine import StateView

__all__ = ["CaseMaterial", "ask_service", "read_material", "threshold_of"]

_LARGEST_DEN: Final = 1_000_000


class CaseMaterial(NamedTuple):
    """What one may ask with."""

    diagnosed: Sequence[tuple[BlindCase, Diagnosis]]
    undiagnosed: BlindCase
    candidates: Sequence[Diagnosis]
    """Every diagnosis that the model may give."""


def read_material(
    blobs: BlobStore,
    model: Digest,
    diagnosed: Path,
    undiagnosed: Path,
    columns: Sequence[str] | None = None,
    *,
    cleared: bool = False,
) -> CaseMaterial:
    """What is in a hospital's files, in the form that the model takes.

    Args:
        blobs: where the registered model is.
        model: its digest.
        diagnosed: a CSV file with the features and the target of the model's plan; for a model of pictures the folder
            of an image set.
        undiagnosed: a CSV file with one row of the features, or a picture.
        columns: the names of the columns, for files without a header line.
        cleared: a person has looked at the undiagnosed picture and found no text that names anybody.

    Raises:
        InvalidInput: a file does not fit the model, or the model is of a kind that cannot be asked.
        Unavailable: the model's blob is not here. Refused: `burnt-in-text`: nobody has looked at a picture that may
            have some.
    """
    plan = decode_model(blobs.get(model)).plan
    candidates = candidates_of(plan.data.target)
    if plan.data.picture is not None:
        return CaseMaterial(diagnosed_pictures(plan, diagnosed), picture_case(undiagnosed, cleared=cleared), candidates)
    names = tuple(columns) if columns else None
    rows = row_cases(plan, read_csv(undiagnosed, columns=names))
    if len(rows) != 1:
        raise InvalidInput(f"{undiagnosed.name}: expected one row, the undiagnosed patient, found {len(rows)}")
    return CaseMaterial(diagnosed_rows(plan, read_csv(diagnosed, columns=names)), rows[0], candidates)


def ask_service(
    site: Site,
    view: StateView,
    service: Name,
    model: Digest,
    material: CaseMaterial,
    *,
    count: int,
    threshold: str,
    phase_ms: int,
) -> OpenBlindTest:
    """Prepare a test and leave it in the vault for the agent; see `open_blind_test`.

    Raises:
        InvalidInput: a threshold that is no number, or cannot be passed; too few cases. Refused: see there.
    """
    return open_blind_test(
        view=view,
        me=site.name,
        vault=site.vault,
        blobs=site.blobs,
        entropy=site.entropy,
        service=service,
        model=model,
        diagnosed=material.diagnosed,
        undiagnosed=material.undiagnosed,
        candidates=material.candidates,
        count=count,
        threshold=threshold_of(threshold),
        phase_ms=phase_ms,
    )


def threshold_of(text: str) -> tuple[int, int]:
    """Numerator and denominator of a share such as `0.7` or `2/3`.

    Raises:
        InvalidInput: no number from 0 up to 1, or with more than six decimals.
    """
    try:
        share = Fraction(text) if len(text) <= 20 and "e" not in text.lower() else None
    except (ValueError, ZeroDivisionError):
        share = None
    if share is None or not 0 <= share < 1 or share.denominator > _LARGEST_DEN:
        raise InvalidInput(f"threshold {text[:20]!r}: expected a share from 0 up to 1, such as 0.7 or 2/3")
    return share.numerator, share.denominator
