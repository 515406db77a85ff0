"""What a lying hospital may put on the ledger instead of what is due: the attacks of `ledger.md` on a secure sum.

Each act takes the proper body and gives the bodies that are sent in its place. An act never uses what its hospital
could not have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from medfed.crypto.escrow import SealedShare
from medfed.hospital.site import Site
from medfed.ledger.contracts.aggregates import ConfirmSealed, DisputeAggregate
from medfed.ledger.contracts.agreement import Attest
from medfed.ledger.contracts.keying import ComplainAboutPair, Enrol, KeysReady, SealPairSecrets
from medfed.ledger.contracts.reveals import OpenedShare, PairSeed, RevealSeeds, RevealShares
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import SealedSecret, Study
from medfed.ledger.contracts.survivors import ConfirmSurvivors, RefuseSurvivors, ReportMissing
from medfed.ledger.contracts.updates import SubmitUpdate, submission
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.simulation.faults_blobs import BlobFaults

__all__ = ["ACTS", "Scene"]


@dataclass(frozen=True)
class Scene:
    """Where an act takes place."""

    site: Site
    view: StateView
    study: Study
    current: Round | None
    blobs: BlobFaults
    rng: random.Random
    hold: Callable[[Body], None]
    """Say something later instead."""
    said: Sequence[Body]

    def bytes(self, size: int) -> bytes:
        """Garbage."""
        return self.rng.randbytes(size)

    def others(self) -> list[str]:
        """Everybody else in the study."""
        return [name for name in self.study.roster or self.study.terms.invited if name != self.site.name]

    def some(self, names: Sequence[str]) -> list[str]:
        """A part of `names`, at least one, sorted."""
        return sorted(self.rng.sample(names, self.rng.randint(1, len(names)))) if names else []


Act = Callable[[Scene, Any], Sequence[Body]]


def _silence(scene: Scene, body: Body) -> Sequence[Body]:
    return ()


def _later(scene: Scene, body: Body) -> Sequence[Body]:
    scene.hold(body)
    return ()


def _twice(scene: Scene, body: Body) -> Sequence[Body]:
    return (body, body)


# --- updates -------------------------------------------------------------------------------------------------------


def _wrong_base(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, base=scene.bytes(32)),)


def _second_update(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    other = scene.blobs.under.put(scene.bytes(body.length))
    return (body, replace(body, blob=other, seed_commitment=scene.bytes(32)))


def _no_blob(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, blob=scene.bytes(32)),)


def _blob_for_some(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    """Served to all but some; to nobody at all if all others are drawn."""
    scene.blobs.hide(body.blob, set(scene.some(scene.others())))
    return (body,)


def _damaged_blob(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    scene.blobs.damaged |= {(body.blob, name) for name in scene.some(scene.others())}
    return (body,)


def _wrong_length(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, length=body.length + 4),)


def _short_blob(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, blob=scene.blobs.under.put(scene.bytes(body.length - 4))),)


def _garbage_vector(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, blob=scene.blobs.under.put(scene.bytes(body.length))),)


def _copied_update(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    for name in scene.others():
        other = submission(scene.view, body.study, body.round, body.attempt, name)
        if other is not None:
            return (replace(body, blob=other.blob, seed_commitment=other.seed_commitment),)
    return (body,)


def _false_commitment(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, seed_commitment=scene.bytes(32)),)


def _rejects(scene: Scene, body: SubmitUpdate) -> Sequence[Body]:
    return (replace(body, accepts=not body.accepts),)


# --- survivors -----------------------------------------------------------------------------------------------------


def _report(scene: Scene, body: ConfirmSurvivors) -> ReportMissing:
    others = [name for name in scene.current.survivors if name != scene.site.name] if scene.current else []
    return ReportMissing(body.study, body.round, body.attempt, tuple(scene.some(others)))


def _false_report(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    return (_report(scene, body),)


def _report_then_confirm(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    return (_report(scene, body), body)


def _confirm_then_report(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    return (body, _report(scene, body))


def _garbage_escrow(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    return (replace(body, escrow=scene.bytes(len(body.escrow))),)


def _garbage_shares(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    shares = tuple(SealedShare(share.holder, scene.bytes(61), scene.bytes(32)) for share in body.shares)
    return (replace(body, shares=shares),)


def _one_bad_share(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    at = scene.rng.randrange(len(body.shares))
    bad = SealedShare(body.shares[at].holder, scene.bytes(61), body.shares[at].digest)
    return (replace(body, shares=(*body.shares[:at], bad, *body.shares[at + 1 :])),)


def _other_survivors(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    return (replace(body, survivors=scene.bytes(32)), body)


def _refuse(scene: Scene, body: ConfirmSurvivors) -> Sequence[Body]:
    """Stops the study until people look, so at most once a study; see `faults_world` for the people."""
    if scene.study.pauses:
        return (body,)
    return (RefuseSurvivors(body.study, body.round, body.attempt, "no-reason"),)


# --- reveals -------------------------------------------------------------------------------------------------------


def _wrong_self_seed(scene: Scene, body: RevealSeeds) -> Sequence[Body]:
    return (replace(body, self_seed=scene.bytes(32)),)


def _wrong_pair_seeds(scene: Scene, body: RevealSeeds) -> Sequence[Body]:
    return (replace(body, pair_seeds=tuple(PairSeed(pair.name, scene.bytes(32)) for pair in body.pair_seeds)),)


def _seeds_of_survivors(scene: Scene, body: RevealSeeds) -> Sequence[Body]:
    pairs = tuple(PairSeed(name, scene.bytes(32)) for name in scene.others())
    return (replace(body, pair_seeds=pairs), body)


def _wrong_share(scene: Scene, body: RevealShares) -> Sequence[Body]:
    return (replace(body, shares=tuple(OpenedShare(entry.owner, scene.bytes(33)) for entry in body.shares)),)


# --- keys ----------------------------------------------------------------------------------------------------------


def _garbage_secrets(scene: Scene, body: SealPairSecrets) -> Sequence[Body]:
    chosen = set(scene.some([entry.receiver for entry in body.secrets]))
    secrets = tuple(
        SealedSecret(entry.receiver, scene.bytes(len(entry.sealed))) if entry.receiver in chosen else entry
        for entry in body.secrets
    )
    return (replace(body, secrets=secrets),)


def _too_few_secrets(scene: Scene, body: SealPairSecrets) -> Sequence[Body]:
    return (replace(body, secrets=body.secrets[:-1]),)


def _false_complaint(scene: Scene, body: KeysReady) -> Sequence[Body]:
    lower = [name for name in scene.study.sealed if name < scene.site.name]
    return (*(ComplainAboutPair(body.study, name) for name in scene.some(lower)), body)


def _wrong_attestation(scene: Scene, body: Attest) -> Sequence[Body]:
    return (replace(body, base=scene.bytes(32)),)


def _others_confirmed(scene: Scene, body: ConfirmSealed) -> Sequence[Body]:
    return (replace(body, survivors=scene.bytes(32)),)


def _false_dispute(scene: Scene, body: ConfirmSealed) -> Sequence[Body]:
    return (DisputeAggregate(body.study, max(0, scene.study.base_round), "count-without-mine"), body)


ACTS: Final[Mapping[type, Sequence[tuple[str, Act]]]] = {
    Enrol: (("late enrolment", _later), ("no enrolment", _silence)),
    SealPairSecrets: (
        ("no pair secrets", _silence),
        ("late pair secrets", _later),
        ("garbage pair secrets", _garbage_secrets),
        ("too few pair secrets", _too_few_secrets),
    ),
    KeysReady: (("no keys", _silence), ("false complaint", _false_complaint), ("late keys", _later)),
    SubmitUpdate: (
        ("no update", _silence),
        ("late update", _later),
        ("update sent twice", _twice),
        ("wrong base", _wrong_base),
        ("second update", _second_update),
        ("digest without a blob", _no_blob),
        ("blob served to some", _blob_for_some),
        ("damaged blob", _damaged_blob),
        ("wrong length", _wrong_length),
        ("short blob", _short_blob),
        ("garbage vector", _garbage_vector),
        ("copied update", _copied_update),
        ("false commitment", _false_commitment),
        ("false rejection", _rejects),
    ),
    ConfirmSealed: (
        ("no confirmation", _silence),
        ("late confirmation", _later),
        ("confirmation of others", _others_confirmed),
        ("false dispute", _false_dispute),
    ),
    ConfirmSurvivors: (
        ("no confirmation", _silence),
        ("late confirmation", _later),
        ("false report", _false_report),
        ("report, then confirmation", _report_then_confirm),
        ("confirmation, then report", _confirm_then_report),
        ("garbage escrow", _garbage_escrow),
        ("garbage shares", _garbage_shares),
        ("one bad share", _one_bad_share),
        ("other survivors", _other_survivors),
        ("refusal", _refuse),
    ),
    RevealSeeds: (
        ("no reveal", _silence),
        ("no reveal", _silence),
        ("late reveal", _later),
        ("wrong self seed", _wrong_self_seed),
        ("wrong pair seeds", _wrong_pair_seeds),
        ("pair seeds with survivors", _seeds_of_survivors),
    ),
    RevealShares: (("no shares", _silence), ("wrong share", _wrong_share), ("shares twice", _twice)),
    Attest: (("no attestation", _silence), ("wrong attestation", _wrong_attestation)),
}
