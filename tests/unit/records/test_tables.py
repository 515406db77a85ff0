"""Tables with a mapping: small ones with every kind of damage, and the eICU demo whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput
from medfed.records.coding import Coding
from medfed.records.draft_mapping import draft_mapping
from medfed.records.library import Library
from medfed.records.mapping import load_mapping, parse_mapping
from medfed.records.report import ImportReport
from medfed.records.tables import import_tables

ROOT = Path(__file__).parents[3]
DATA = ROOT / ".." / "shared" / "data"
MAPPINGS = ROOT / "benchmarks" / "mappings"

MAPPING = """
version = 1
name = "ward"
[tables.stays]
file = "stays.csv"
missing = ["", "-1"]
[tables.labs]
file = "labs.csv"
key = "stay"
clock = "minutes"
[tables.drugs]
file = "drugs.csv"
key = "stay"
[case]
table = "stays"
id = "id"
patient = "who"
age = "age"
ages = { "> 89" = 90.0 }
sex = "sex"
[index]
seconds = 3600
[[features]]
table = "stays"
type = "flags"
columns = ["cough", "fever"]
present = ["1"]
refuted = ["0"]
[[features]]
table = "labs"
type = "numbers"
time = "at"
columns = { crp = { unit = "mg/L", low = 0, high = 1000 } }
[[diagnoses]]
table = "stays"
column = "diagnosis"
separator = "|"
levels = 1
[[treatments]]
table = "drugs"
column = "name"
dose = "dose"
where = { cancelled = ["no"] }
"""
STAYS = """id,who,age,sex,cough,fever,diagnosis
1,anna,> 89,F,1,0,lung|pneumonia
2,bert,45,male,,-1,lung|asthma
"""
LABS = """stay,at,crp
1,30,120
1,90,80
2,10,-5
2,20,high
9,10,1
"""
DRUGS = """stay,name,dose,cancelled
1,amoxicillin,500 mg,no
1,ibuprofen,400 mg,yes
2,salbutamol,-2 puff,no
"""


def run(folder: Path, stays: str = STAYS, labs: str = LABS, drugs: str = DRUGS) -> tuple[Library, ImportReport]:
    for name, text in (("stays", stays), ("labs", labs), ("drugs", drugs)):
        (folder / f"{name}.csv").write_text(text)
    library = Library(None, seeded_entropy(b"tables"))
    report = import_tables(library, folder, parse_mapping(MAPPING))
    assert report.is_balanced, report.summary()
    assert library.connection.execute("SELECT count(*) FROM mapped").fetchone() == (0,)
    return library, report


def reasons(report: ImportReport) -> dict[str, str]:
    return {f"{line.kind} {line.path}": line.reason for line in report.lines()}


def test_rows_become_cases_and_every_other_row_says_why_not(tmp_path: Path) -> None:
    library, report = run(tmp_path)
    anna, bert = sorted(library.cases(), key=lambda case: case.source)
    assert (anna.patient, anna.age, anna.sex) == ("anna", 90.0, "female")
    assert {(f.concept.code, f.status) for f in anna.features} == {
        ("cough", "present"), ("fever", "refuted"), ("crp", "present"),
    }  # fmt: skip
    assert [c.code for c in anna.outcome.diagnoses] == ["lung"]
    assert [(t.drug.code, t.dose, t.dose_unit) for t in anna.outcome.treatments] == [("amoxicillin", 500.0, "{mg}")]
    assert bert.features == ()
    assert reasons(report) == {
        "labs line 3": "known only after the index time",
        "labs line 4": "a number outside the bounds of its column",
        "labs line 5": "expected a number",
        "labs line 6": "no case of its key was made",
        "drugs line 3": "left out by the mapping, or all its cells are missing",
        "drugs line 4": "dose is negative",
    }


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    library, _ = run(tmp_path)
    before = list(library.cases())
    report = import_tables(library, tmp_path, parse_mapping(MAPPING))
    assert (report.cases, report.unchanged) == (0, 2)
    assert list(library.cases()) == before


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("3,carl,200,male,1,0,x", "age: expected 0 to 130"),
        ("3,carl,old,male,1,0,x", "expected a number"),
        ("1,carl,20,male,1,0,x", "an id that was read before"),
        (",carl,20,male,1,0,x", "its id is missing"),
        ("3,,20,male,1,0,x", "its patient is missing"),
        ("3,carl,20,male,1,0", "has 6 columns instead of 7"),
        ('3,carl,20,male,1,0,"x', "cannot be read, nor can what follows: too long, or a quote is not closed"),
    ],
)
def test_a_row_that_is_no_case_says_why(tmp_path: Path, row: str, reason: str) -> None:
    library, report = run(tmp_path, stays=STAYS + row + "\n")
    assert len(library) == 2
    assert [line.reason for line in report.lines() if line.kind == "stays"] == [reason]


def test_bytes_that_are_not_utf8_cost_only_their_row(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "stays.csv").write_bytes(STAYS.encode() + "3,\xe4,20,male,1,0,x\n".encode("latin-1"))
    library = Library(None, seeded_entropy(b"tables"))
    report = import_tables(library, tmp_path, parse_mapping(MAPPING))
    assert [line.reason for line in report.lines() if line.kind == "stays"] == ["not UTF-8"]
    assert len(library) == 2


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    library, report = run(tmp_path, stays=STAYS + "x" * (3 << 20))
    assert len(library) == 2
    assert [line.reason[:14] for line in report.lines() if line.kind == "stays"] == ["cannot be read"]


def test_reasons_never_hold_a_cell(tmp_path: Path) -> None:
    secret = "Zanzibar4711"
    _, report = run(
        tmp_path,
        STAYS + f"3,{secret},{secret},{secret},{secret},{secret},{secret}\n",
        LABS + f"1,{secret},{secret}\n{secret},1,1\n",
        DRUGS + f"1,{secret},{secret},{secret}\n",
    )
    assert secret not in "\n".join([*map(str, report.lines()), report.summary()])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('column = "diagnosis"', 'column = "nothing"', "no column 'nothing'"),
        ('table = "labs"', 'table = "gone"', "not under"),
        ("levels = 1", "levels = -1", "levels"),
        ("levels = 1", "level = 1", "level"),
        ('key = "stay"\nclock', "clock", "its key"),
        ('id = "id"', "", "an id is needed"),
        ("version = 1", "version = 2", "version"),
        ("[case]", "[case", "mapping"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    run(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        import_tables(Library(None, seeded_entropy(b"")), tmp_path, parse_mapping(MAPPING.replace(old, new)))


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,a,y\n1,0,flu\n0,1,flu\n")
    mapping = parse_mapping(
        'version = 1\nname = "t"\n[tables.t]\nfile = "t.csv"\n[case]\ntable = "t"\n'
        '[[features]]\ntable = "t"\ntype = "flags"\nexcept_columns = ["y"]\n[[diagnoses]]\ntable = "t"\ncolumn = "y"\n'
    )
    library = Library(None, seeded_entropy(b"x"))
    import_tables(library, tmp_path, mapping)
    assert sorted(f.concept.code for case in library.cases() for f in case.features) == ["a", "a (2)"]


def test_parquet_gives_the_same_cases_as_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    csv = pytest.importorskip("pyarrow.csv")
    library, _ = run(tmp_path)
    for name in ("stays", "labs", "drugs"):
        parquet.write_table(csv.read_csv(tmp_path / f"{name}.csv"), tmp_path / f"{name}.parquet")
    other = Library(None, seeded_entropy(b"tables"))
    assert import_tables(other, tmp_path, parse_mapping(MAPPING.replace(".csv", ".parquet"))).is_balanced
    assert list(other.cases()) == list(library.cases())


def test_a_drafted_mapping_imports_and_holds_no_cell_of_the_table(tmp_path: Path) -> None:
    rows = [f"{n},{20 + n % 60},{'FM'[n % 2]},{n % 2},{n * 0.5},note {n},{['flu', 'cold'][n % 2]}" for n in range(40)]
    (tmp_path / "t.csv").write_text("id,age,sex,cough,crp,free,diagnosis\n" + "\n".join(rows) + "\n")
    text = draft_mapping(tmp_path / "t.csv")
    library = Library(None, seeded_entropy(b"x"))
    report = import_tables(library, tmp_path, parse_mapping(text))
    assert report.used == len(library) == 40
    case = next(library.cases())
    assert case.age is not None
    assert {f.concept.code for held in library.cases() for f in held.features} == {"cough", "crp"}
    assert len(case.outcome.diagnoses) == 1
    assert "note" not in text
    assert "flu" not in text


@pytest.fixture(scope="module")
def eicu() -> tuple[Library, ImportReport]:
    if not (DATA / "eicu_demo").exists():
        pytest.skip("eicu_demo absent")
    library = Library(None, seeded_entropy(b"eicu"))
    return library, import_tables(library, DATA / "eicu_demo", load_mapping(MAPPINGS / "eicu.toml"))


def test_every_row_of_eicu_is_used_or_explained(eicu: tuple[Library, ImportReport]) -> None:
    library, report = eicu
    folder = DATA / "eicu_demo"
    mapping = load_mapping(MAPPINGS / "eicu.toml")
    rows = sum(len((folder / table.file).read_text().splitlines()) - 1 for table in mapping.tables.values())
    assert report.is_balanced
    assert report.read == rows
    assert len(library) == 2520
    assert sum(1 for _ in report.lines()) == report.explained


def test_eicu_knows_its_hospitals_drugs_and_missing_values(eicu: tuple[Library, ImportReport]) -> None:
    cases = list(eicu[0].cases())
    assert len({case.group for case in cases}) == 186
    assert len({case.patient for case in cases}) < len(cases)
    measured = [f for case in cases for f in case.features if isinstance(f.value, float)]
    assert len(measured) > 20_000
    assert all(f.value != -1 for f in measured)
    given = [t for case in cases for t in case.outcome.treatments if t.kind == "drug"]
    assert all(any(getattr(t, field) is not None for t in given) for field in ("route", "dose", "frequency"))
    told = {f.concept.code for case in cases for f in case.features}
    leaks = {"vent", "intubated", "dialysis", "activetx", "thrombolytics", "diedinhospital", "dischargelocation"}
    assert not told & leaks
    assert all(not isinstance(f.value, Coding) or f.value.code != "-1" for case in cases for f in case.features)
