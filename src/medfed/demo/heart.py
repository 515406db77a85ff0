"""The demo's material: UCI heart disease as four hospitals recorded it in 1988, and the plan for it (CC BY 4.0)."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Final

from msgspec.structs import replace

from medfed.crypto import Entropy, SiteKeys
from medfed.encoding import digest_of
from medfed.federation.plan import Mode, Plan, Protection
from medfed.federation.plan_file import parse_plan
from medfed.federation.tables import Table, read_csv
from medfed.identifiers import Name

__all__ = ["CAUTION", "COLUMNS", "FILES", "PROTECTIONS", "heart_plan", "heart_table", "heart_tables", "site_keys"]

_NAMES: Final = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num"
COLUMNS: Final = tuple(_NAMES.split())
FILES: Final[dict[Name, str]] = {
    "cleveland": "processed.cleveland.data",
    "hungary": "processed.hungarian.data",
    "long-beach": "processed.va.data",
    "switzerland": "processed.switzerland.data",
}
PROTECTIONS: Final[dict[Mode, Protection]] = {
    "masked": Protection(),
    "homomorphic": Protection("homomorphic", "key-holder", ("aggregator",)),
    "sealed": Protection("sealed", aggregators=("aggregator",)),
}
"""What the demo can show, with the office holders that each needs."""
CAUTION: Final = "Research data from 1988, shown to explain how MedFed works. Not for the care of patients."


def heart_plan(protection: Mode = "masked") -> Plan:
    """The plan that ships with the data; `protection` says how its updates are protected."""
    text = files("medfed.demo").joinpath("data/heart.toml").read_text(encoding="utf-8")
    plan = parse_plan(text, "heart.toml")
    return plan if protection == "masked" else replace(plan, protection=PROTECTIONS[protection])


def heart_table(name: Name) -> Table:
    """One hospital's table."""
    with as_file(files("medfed.demo").joinpath("data", FILES[name])) as path:
        return read_csv(path, columns=COLUMNS, name=name)


def heart_tables() -> dict[Name, Table]:
    """All four hospitals' tables."""
    return {name: heart_table(name) for name in FILES}


def site_keys(name: Name, entropy: Entropy) -> SiteKeys:
    """Fresh keys, but for the key that divides patients: it follows from the name, so that every run divides alike."""
    return replace(SiteKeys.generate(name, entropy), split_key=digest_of("medfed/demo-split", name))
