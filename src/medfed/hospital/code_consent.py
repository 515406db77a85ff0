"""Whether this site may run the model code that a plan brings: only what a person has listed, and only unchanged.

Approving a study by a rule is not enough: the digest of the code stands in `site.toml` under `[consent]` as `code`.
Nothing of the code is run to find out.
"""

from __future__ import annotations

from medfed.errors import InvalidInput, Refused
from medfed.federation.plan import Plan
from medfed.hospital.consent import ConsentPolicy
from medfed.models.approved_code import code_digest
from medfed.models.settings import ModuleModel

__all__ = ["CODE_DIFFERS", "NOT_LISTED", "check_code", "code_refusal"]

NOT_LISTED = "code-not-listed"
CODE_DIFFERS = "code-differs"


def code_refusal(consent: ConsentPolicy, plan: Plan) -> str | None:
    """Why the plan's code may not run here, as a code; None where it may, or the plan brings none."""
    if not isinstance(plan.model, ModuleModel):
        return None
    if plan.model.source not in consent.code:
        return NOT_LISTED
    try:
        is_same = code_digest(plan.model.path) == plan.model.source
    except InvalidInput:
        is_same = False
    return None if is_same else CODE_DIFFERS


def check_code(consent: ConsentPolicy, plan: Plan) -> None:
    """Refuse what may not run here.

    Raises:
        Refused: `code-not-listed` or `code-differs`.
    """
    code = code_refusal(consent, plan)
    if code is not None and isinstance(plan.model, ModuleModel):
        reason = {
            NOT_LISTED: "its digest is not in site.toml, [consent] code",
            CODE_DIFFERS: "the code on this machine is another, or not there",
        }[code]
        raise Refused(code, f"model code {plan.model.path}: {reason}; it is not run")
