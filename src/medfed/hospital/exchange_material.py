"""What a site may offer besides a file of its own: an image set as one archive, and its own past update of a round.

Archives hold pictures and findings, never where they came from. An update is computed anew from the site's data, for
its owner only: under masks nobody else has it. This module must never make an update of a study with noise, because
its noise is what protects patients.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.crypto.private_file import sync_directory
from medfed.errors import InvalidInput, Unavailable
from medfed.federation.plan import Labelling, Plan, TrainingNoise
from medfed.federation.prepared import PreparedData, cases_root
from medfed.federation.study import contribution, initial_local_memory, initial_state, local_rng
from medfed.hospital.aggregation import CLOSED, absorb_round, plan_of
from medfed.hospital.code_consent import check_code
from medfed.hospital.noisy_update import usable_rows
from medfed.hospital.progress import study_key
from medfed.hospital.site import Site
from medfed.identifiers import StudyId, short
from medfed.imaging.coco import write_coco
from medfed.imaging.image_set import load_image_set
from medfed.imaging.release import check_release
from medfed.ledger.contracts.offered_data import Kind
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.studies import enrolment, study_record
from medfed.ledger.engine import StateView
from medfed.models.settings import DetectorModel, ModuleModel

__all__ = ["offered_file", "own_update", "pack_images", "pack_update"]

_OFFERED: Final = "offered"
ANNOTATIONS: Final = "annotations.coco.json"


def offered_file(
    site: Site, view: StateView, directory: Path, kind: Kind, data: Path | None, update: tuple[StudyId, int] | None
) -> Path:
    """The file that is meant: `data` itself, an archive of the image set in that folder, or an own past update.

    Args:
        site: whose it is.
        view: the ledger now.
        directory: the site's, where what is made is put.
        kind: of the offer.
        data: a file or a folder.
        update: of which study, and of which training round, in place of `data`.

    Raises:
        InvalidInput: not exactly one of both, or as `pack_images` and `pack_update`. Others: as these.
    """
    if update is not None and data is None and kind == "updates":
        return pack_update(site, view, *update, directory)
    if update is not None or data is None:
        raise InvalidInput("exchange offer: expected DATA, or for updates both a study and a round")
    return pack_images(data, directory, site.entropy) if kind == "images" and data.is_dir() else data


def pack_images(folder: Path, site: Path, entropy: Entropy) -> Path:
    """An image set as a new archive in the site's directory: pictures by digest, and one COCO file.

    Raises:
        InvalidInput: no image set is there. Refused: `burnt-in-text`: a person has to look at pictures first.
            Tampered: a picture was changed. Unavailable: there is no room.
    """
    images = load_image_set(folder)
    check_release(images)
    target = _new_file(site, f"{entropy(8).hex()}.tar")
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for picture in images.pictures:
                    _add(archive, picture.file, images.data(picture))
                _add(archive, ANNOTATIONS, write_coco(images.pictures, images.labels))
            file.flush()
            os.fsync(file.fileno())
        sync_directory(target.parent)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise Unavailable(f"{target}: {error.strerror or error}") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target


def pack_update(site: Site, view: StateView, study: StudyId, number: int, directory: Path) -> Path:
    """This site's own update of one training round as a safetensors file, computed as it was for the round.

    Raises:
        InvalidInput: no training round of that number in which this site was, a kind of study whose updates cannot
            be given away, or other data than the site has enrolled with. Unavailable: the blobs of the rounds before
            are not here. Refused: the plan's code may not run here.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in own_update(site, view, study, number).items()}
    data = safetensors.numpy.save(arrays, metadata={"study": study.hex(), "round": str(number), "site": site.name})
    target = _new_file(directory, f"{site.entropy(8).hex()}.safetensors")
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(target.parent)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise Unavailable(f"{target}: {error.strerror or error}") from None
    return target


def own_update(site: Site, view: StateView, study: StudyId, number: int) -> dict[str, NDArray[Any]]:
    """What this site contributed to a training round, by entry name, as it was before it was encoded and protected.

    What a learner or strategy remembers from round to round is made again too, by training the rounds before.

    Raises:
        As `pack_update`.
    """
    record, current = study_record(view, study), round_record(view, study, number)
    if record is None or current is None or current.kind != "training" or site.name not in current.survivors:
        raise InvalidInput(f"study {short(study)}: {site.name} has no accepted update of a training round {number}")
    plan = plan_of(view, study)
    if isinstance(plan.noise, TrainingNoise) or isinstance(plan.labelling, Labelling):
        raise InvalidInput("an update of a study with noise is not given away: without its noise it protects nobody")
    check_code(site.consent, plan)
    rows = _enrolled_rows(site, view, plan, study)
    state, memory = initial_state(plan), initial_local_memory(plan)
    for earlier in range(number):
        closed = round_record(view, study, earlier)
        if closed is None or closed.phase not in CLOSED:
            continue
        outcome = absorb_round(view, record, plan, state, closed, site.blobs)
        counted = closed.kind == "training" and closed.phase == "released" and site.name in closed.survivors
        if counted and outcome.accepted and _remembers(plan):
            _, memory = contribution(plan, state, "training", rows, local_rng(plan, earlier, site.name), memory)
        state = outcome.state
    values, _ = contribution(plan, state, "training", rows, local_rng(plan, number, site.name), memory)
    return values


def _enrolled_rows(site: Site, view: StateView, plan: Plan, study: StudyId) -> PreparedData:
    """The site's data, if it still is what the study enrolled."""
    rows, enrolled = site.prepared(plan), enrolment(view, study, site.name)
    salt = site.vault.get(study_key(study, "cases-salt"))
    if enrolled is None or salt is None or cases_root(rows, salt) != enrolled.cases_root:
        raise InvalidInput(f"study {short(study)}: the site's data is not what it has enrolled with")
    return usable_rows(site, plan, study)


def _remembers(plan: Plan) -> bool:
    """Whether a site's training depends on what it kept of the rounds before."""
    keeps = isinstance(plan.model, (DetectorModel, ModuleModel)) and plan.training.local.picture_training.keep_optimizer
    return keeps or plan.training.strategy.name == "scaffold"


def _new_file(site: Path, name: str) -> Path:
    folder = site / _OFFERED
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror or error}") from None
    return folder / name


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Without a date, an owner or a mode of this machine."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = 0o600
    archive.addfile(entry, io.BytesIO(data))
