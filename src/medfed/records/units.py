"""Units of measure by UCUM: conversions within one dimension, and a plain no to everything else.

The conversion itself is ucumvert's and pint's (extra `records`), loaded when the first two differing units meet. Never
converted: arbitrary units (UCUM §24: an international unit of one substance says nothing of another), equivalents
against moles, which need the charge, and annotations, which are no units.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

from medfed.errors import InvalidInput, Refused, Unavailable

__all__ = ["UnitConverter", "annotate"]

_ARBITRARY: Final = re.compile(
    r"\[(?:APL'U|AU|Amb'a'1'U|BAU|CCID_50|CFU|D'ag'U|EID_50|ELU|EU|FEU|FFU|GPL'U|IR|IU|Lf|MPL'U|PFU|PNU|TCID_50|USP'U"
    r"|anti'Xa'U|arb'U|bdsk'U|beth'U|dye'U|hp_[CMQX]|iU|ka'U|knk'U|kp_[CMQX]|mclg'U|smgy'U|tb'U|todd'U|pH)\]"
)
_ANNOTATION: Final = re.compile(r"/?\{[^{}]*\}")
_PER_ANNOTATION: Final = re.compile(r"/\{[^{}]*\}")
_EQUIVALENT: Final = re.compile(r"(?<![A-Za-z\[_'])[dcmunpkM]?eq(?![A-Za-z_'\]])")
_LONGEST: Final = 80
_CACHED: Final = 4096


def annotate(text: str) -> str:
    """A unit outside UCUM as an annotation: equal only to itself, convertible to nothing."""
    return "{" + re.sub(r"[{}\s]+", "_", text.strip())[: _LONGEST - 2] + "}"


class UnitConverter:
    """Converts numbers between UCUM units, remembering what it found for each pair."""

    def __init__(self) -> None:
        self._registry: Any = None
        self._pairs: dict[tuple[str, str], tuple[float, float] | str] = {}

    def convert(self, value: float, unit: str, wanted: str) -> float:
        """`value` of `unit` in `wanted`.

        Raises:
            Refused: "units-differ" where the two have no common dimension or must not be converted.
            InvalidInput: one of them is not UCUM. Unavailable: the `records` extra is not installed.
        """
        if unit == wanted:
            return value
        found = self._pairs.get((unit, wanted))
        if found is None:
            found = self._line(unit, wanted)
            if len(self._pairs) < _CACHED:
                self._pairs[(unit, wanted)] = found
        if isinstance(found, str):
            raise Refused("units-differ", found)
        return value * found[0] + found[1]

    def is_same(self, unit: str, other: str) -> bool:
        """Whether the two codes mean the same unit; False where one of them is no UCUM code."""
        try:
            return abs(self.convert(1.0, unit, other) - 1.0) < 1e-9 and abs(self.convert(0.0, unit, other)) < 1e-9
        except (InvalidInput, Refused):
            return False

    def is_unit(self, text: str) -> bool:
        """Whether `text` is a UCUM code with a meaning of its own, not only an annotation."""
        try:
            self._quantity(text)
        except InvalidInput:
            return False
        return True

    def _line(self, unit: str, wanted: str) -> tuple[float, float] | str:
        """Slope and offset, exact for everything that UCUM calls proper or special-affine, or why not."""
        first, second = _ANNOTATION.sub("", unit), _ANNOTATION.sub("", wanted)
        if not first or not second:
            return f"unit {wanted!r} expected, found another that does not convert"
        if sorted(_ARBITRARY.findall(unit)) != sorted(_ARBITRARY.findall(wanted)):
            return f"unit {wanted!r}: arbitrary units are never converted"
        if bool(_EQUIVALENT.search(first)) != bool(_EQUIVALENT.search(second)):
            return f"unit {wanted!r}: equivalents and moles differ by the charge"
        if _PER_ANNOTATION.findall(unit) != _PER_ANNOTATION.findall(wanted):
            return f"unit {wanted!r}: what it is per differs"
        source, target = self._quantity(unit), self._quantity(wanted)
        if source.dimensionality != target.dimensionality:
            return f"unit {wanted!r} expected, found one of another dimension"
        zero, one = (self._registry.Quantity(n, source.units).to(target.units).magnitude for n in (0.0, 1.0))
        slope = float(one - zero) * float(source.magnitude) / float(target.magnitude)
        return (slope, float(zero) / float(target.magnitude))

    def _quantity(self, code: str) -> Any:
        if len(code) > _LONGEST or not _ANNOTATION.sub("", code):
            raise InvalidInput("unit: expected a UCUM code")
        if self._registry is None:
            self._registry = _load_registry()
        try:
            quantity = self._registry.from_ucum(_ANNOTATION.sub("", code))
            quantity.dimensionality  # noqa: B018 - raises where it is no quantity
        except Exception:  # noqa: BLE001 - lark's and pint's errors have no common ancestor
            raise InvalidInput("unit: not a UCUM code") from None
        return quantity


def _load_registry() -> Any:
    try:
        return importlib.import_module("ucumvert").PintUcumRegistry()
    except ImportError:
        raise Unavailable("converting units needs the extra: pip install 'medfed[records]'") from None
