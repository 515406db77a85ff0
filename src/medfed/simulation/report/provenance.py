"""Where a report's figures come from, and the command that checks it: the same on every report."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medfed.simulation.api import SimulatedStudy

__all__ = ["check_command", "provenance_table"]


def check_command(study: SimulatedStudy) -> str:
    """What to run on a copy of the ledger, as HTML."""
    return f"<pre>{escape(f'medfed ledger verify LEDGER --genesis {study.ledger.genesis_digest}')}</pre>"


def provenance_table(study: SimulatedStudy, **more: str) -> str:
    """Digests of everything that the report stands on, as an HTML table; `more` comes last."""
    tip = study.ledger.view.tip
    facts = {
        "genesis": study.ledger.genesis_digest,
        "ledger head": f"{tip.height}:{tip.block.hex()}",
        "study": study.study.study.hex(),
        "plan": study.plan.digest.hex(),
        "agreed result": (study.study.base or b"").hex(),
        **more,
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td><code>{escape(v)}</code></td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"
