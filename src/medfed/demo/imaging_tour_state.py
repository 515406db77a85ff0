"""The imaging demo under way: where it is, how it is told, and what came out of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfed.demo.agents import AgentProcesses
from medfed.demo.imaging_place import ImagingPlace
from medfed.demo.place import PASSPHRASE
from medfed.demo.story import Story
from medfed.hospital.acting import acting_for
from medfed.identifiers import Name, StudyId
from medfed.ledger.transaction import Body

__all__ = ["Tour"]


@dataclass
class Tour:
    """What the parts of the demo hand on to each other."""

    place: ImagingPlace
    story: Story
    agents: AgentProcesses
    study: StudyId
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    operating: float = 0.5
    """The score from which boxes are believed."""
    drawn: list[Path] = field(default_factory=list[Path])
    """Pictures with boxes."""
    asked: list[dict[str, Any]] = field(default_factory=list["dict[str, Any]"])
    """The blind tests."""
    exchange: dict[str, Any] = field(default_factory=dict[str, Any])
    """The data request."""

    def send(self, name: Name, body: Body) -> None:
        """Put on the ledger what a person at a site wants. If the site's agent is running, it signs and sends it."""
        with acting_for(self.place.site(name), self.place.ledger, PASSPHRASE) as acting:
            acting.send(body)
