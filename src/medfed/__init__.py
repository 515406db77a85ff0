"""MedFed: hospitals learn and diagnose together without giving up their patients' records.

The public names are loaded when they are first used, so that `import medfed` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from medfed.federation.model_file import Model, load_model
    from medfed.federation.plan import Plan
    from medfed.federation.plan_file import load_plan
    from medfed.hospital.site_handle import SiteHandle as Site
    from medfed.simulation.api import SimulatedStudy, simulate
    from medfed.simulation.scheduler import Absence

__all__ = ["Absence", "Model", "Plan", "SimulatedStudy", "Site", "__version__", "load_model", "load_plan", "simulate"]

__version__: Final = "0.1.0"

_WHERE: Final = {
    "Absence": "medfed.simulation.scheduler",
    "Model": "medfed.federation.model_file",
    "Plan": "medfed.federation.plan",
    "SimulatedStudy": "medfed.simulation.api",
    "Site": "medfed.hospital.site_handle",
    "load_model": "medfed.federation.model_file",
    "load_plan": "medfed.federation.plan_file",
    "simulate": "medfed.simulation.api",
}
_CALLED: Final = {"Site": "SiteHandle"}
"""Where the public name is not the one inside: there, a `Site` is what an agent works with."""


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), _CALLED.get(name, name))
    raise AttributeError(f"module 'medfed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
