"""Conversions between UCUM units against published factors, and everything that must not be converted."""

from __future__ import annotations

import pytest

from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.records.units import UnitConverter, annotate

needs_library = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("ucumvert"), reason="the records extra is not installed"
)


@pytest.fixture(scope="module")
def units() -> UnitConverter:
    return UnitConverter()


@needs_library
@pytest.mark.parametrize(
    ("value", "unit", "wanted", "expected"),
    [
        (1.0, "g/dL", "g/L", 10.0),
        (5.0, "mg", "ug", 5000.0),
        (37.0, "Cel", "[degF]", 98.6),  # NIST SP 811, B.9
        (98.6, "[degF]", "Cel", 37.0),
        (1.0, "mm[Hg]", "kPa", 0.133322387415),  # NIST SP 811, B.8
        (1.0, "[lb_av]", "kg", 0.45359237),
        (1.0, "[in_i]", "cm", 2.54),
        (12.0, "10*3/uL", "10*9/L", 12.0),
        (2.0, "mmol/L", "umol/L", 2000.0),
        (50.0, "%", "1", 0.5),
        (60.0, "/min", "/s", 1.0),
        (70.0, "mL/min", "L/h", 4.2),
        (2.0, "m[IU]/L", "[IU]/L", 0.002),
        (3.0, "mg{total}", "mg", 3.0),
    ],
)
def test_a_conversion_within_a_dimension_is_exact(
    units: UnitConverter, value: float, unit: str, wanted: str, expected: float
) -> None:
    assert units.convert(value, unit, wanted) == pytest.approx(expected, rel=1e-9)
    assert units.convert(expected, wanted, unit) == pytest.approx(value, rel=1e-9)


@needs_library
@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("mg/dL", "mmol/L"),  # needs the substance
        ("kg", "cm"),
        ("[IU]", "mg"),
        ("[IU]", "[arb'U]"),
        ("[IU]", "1"),
        ("meq/L", "mmol/L"),  # needs the charge
        ("{tablet}", "mg"),
        ("{tablet}", "{capsule}"),
        ("", "mg"),
        ("[pH]", "1"),
        ("mL/min/{1.73_m2}", "mL/min"),
    ],
)
def test_units_that_do_not_convert_are_refused(units: UnitConverter, unit: str, wanted: str) -> None:
    with pytest.raises(Refused) as caught:
        units.convert(1.0, unit, wanted)
    assert caught.value.code == "units-differ"


@needs_library
@pytest.mark.parametrize("unit", ["furlongs", "mg//L", "m" * 90])
def test_what_is_not_ucum_is_bad_input(units: UnitConverter, unit: str) -> None:
    with pytest.raises(InvalidInput):
        units.convert(1.0, unit, "mg")
    assert not units.is_unit(unit)


@needs_library
def test_two_codes_of_one_unit_are_the_same(units: UnitConverter) -> None:
    assert units.is_same("10*3/uL", "10*9/L")
    assert not units.is_same("mg/L", "g/L")
    assert not units.is_same("Cel", "K")


def test_equal_codes_need_no_library() -> None:
    assert UnitConverter().convert(4.0, "{tablet}", "{tablet}") == 4.0


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("medfed.records.units.importlib.import_module", absent)
    with pytest.raises(Unavailable, match=r"medfed\[records\]"):
        UnitConverter().convert(1.0, "mg", "g")


def test_an_annotation_is_one_token_in_braces() -> None:
    assert annotate(" 2 puffs {x} ") == "{2_puffs_x_}"
    assert len(annotate("y" * 500)) == 80
