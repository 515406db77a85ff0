"""What a lying hospital shouts in between, whatever is due: too early, too late, twice, or for somebody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from medfed.identifiers import sha256
from medfed.ledger.contracts.deadlines import AbortStudy, Advance, ResumeStudy
from medfed.ledger.contracts.keying import ComplainAboutPair
from medfed.ledger.contracts.membership import ProposeRemoval, VoteOnRemoval
from medfed.ledger.contracts.reveals import OpenedShare, RevealSeeds, RevealShares
from medfed.ledger.contracts.studies import Rejoin
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.transaction import Body
from medfed.simulation.byzantine_acts import Scene

__all__ = ["SPAM"]


def _advance(scene: Scene) -> Sequence[Body]:
    return (Advance(scene.study.study),)


def _votes(scene: Scene) -> Sequence[Body]:
    study = scene.study.study
    return (ResumeStudy(study), ResumeStudy(study), AbortStudy(study, "no-reason"), AbortStudy(study, "no-reason"))


def _removal(scene: Scene) -> Sequence[Body]:
    target = scene.rng.choice(scene.others())
    return (ProposeRemoval(target), VoteOnRemoval(target, True))


def _rejoin(scene: Scene) -> Sequence[Body]:
    return (Rejoin(scene.study.study),)


def _replay(scene: Scene) -> Sequence[Body]:
    """Something it said before, for this or the next round or attempt."""
    found = [body for body in scene.said if hasattr(body, "attempt")]
    if not found or scene.current is None:
        return ()
    body: Any = scene.rng.choice(found)
    moved = replace(body, round=scene.current.number, attempt=scene.current.attempt)
    later = (replace(body, attempt=body.attempt + 1), replace(body, round=body.round + 1))
    return (scene.rng.choice((body, moved, *later)),)


def _early_reveal(scene: Scene) -> Sequence[Body]:
    """Before all have confirmed."""
    current = scene.current
    if current is None:
        return ()
    place = (scene.study.study, current.number, current.attempt)
    shares = tuple(OpenedShare(name, scene.bytes(33)) for name in scene.some(current.roster))
    return (RevealSeeds(*place, scene.bytes(32), ()), RevealShares(*place, shares))


def _late_complaint(scene: Scene) -> Sequence[Body]:
    return (ComplainAboutPair(scene.study.study, scene.rng.choice(scene.others())),)


def _garbage_update(scene: Scene) -> Sequence[Body]:
    """For an attempt whose roster it may not be on."""
    current = scene.current
    if current is None:
        return ()
    blob = scene.bytes(64)
    base = scene.study.base or scene.bytes(32)
    place = (scene.study.study, current.number, current.attempt)
    return (SubmitUpdate(*place, base, True, sha256(blob), 64, scene.bytes(32)),)


SPAM: Final[Sequence[tuple[str, Callable[[Scene], Sequence[Body]]]]] = (
    ("advance before the deadline", _advance),
    ("double votes", _votes),
    ("removal of an honest hospital", _removal),
    ("rejoin", _rejoin),
    ("replay", _replay),
    ("early reveal", _early_reveal),
    ("complaint after keying", _late_complaint),
    ("update out of turn", _garbage_update),
)
