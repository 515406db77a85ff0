"""Cohorts for labelling studies: Adult, Diabetes-130 (readmission within 30 days, balanced) and PneumoniaMNIST.

Neither names hospitals, so patients are dealt to ten at random, with all their encounters. A part of the rows is taken
as the public, unlabelled cases, another as test rows that nobody learns from.
"""

from __future__ import annotations

import base64
import csv
import io
import math
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    Feature,
    Labelling,
    NumberFeature,
    Participation,
    PixelsFeature,
    Plan,
    Purpose,
    Student,
    Training,
)
from medfed.identifiers import sha256
from medfed.ledger.contracts.labelling_terms import GaussianNoise, LaplaceNoise, VoteNoise
from medfed.ledger.contracts.terms import Deadlines
from medfed.models.settings import ClassifierModel, LocalTraining, MlpModel, SmallCnnModel
from medfed.privacy import DELTA_STEP, EPSILON_STEP

HOSPITALS = tuple(f"hospital-{letter}" for letter in "abcdefghij")
DATA = Path(__file__).parents[1].parent / "shared" / "data"
Rows = dict[str, list[Any]]
_SIDE = 7
_ADULT = (
    *("age", "workclass", "fnlwgt", "education", "schooling", "marital", "occupation", "relationship", "race", "sex"),
    *("gain", "loss", "hours", "country", "income"),
)


@dataclass(frozen=True)
class Cohort:
    """Everything that a labelling study and its judgement need."""

    plan: Plan
    tables: dict[str, Rows]
    """By hospital, with target and patient."""
    cases: bytes
    """The public cases as the plan names them."""
    case_labels: list[str]
    """What nobody in the study sees."""
    test: Rows


def has_adult() -> bool:
    """Whether Adult is there."""
    return (DATA / "adult" / "adult.data").is_file()


def has_diabetes() -> bool:
    """Whether Diabetes-130 is there."""
    return (DATA / "diabetes130" / "dataset_diabetes.zip").is_file()


def adult_cohort(queries: int = 500, teachers: int = 25, hospitals: Sequence[str] = HOSPITALS, seed: int = 0) -> Cohort:
    """Income above 50,000: `adult.data` is private, of `adult.test` 1,000 rows are public and the rest tests."""
    private = _adult_rows(DATA / "adult" / "adult.data", skip=0)
    others = [row for row in _adult_rows(DATA / "adult" / "adult.test", skip=1) if row["age"] <= 89]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(others))
    public, test = [others[at] for at in order[:1000]], [others[at] for at in order[1000:]]
    for at, row in enumerate(private):
        row["person"] = f"p{at}"
    categories = ("workclass", "marital", "occupation", "relationship", "race", "sex")
    features: list[Feature] = [
        NumberFeature("age", 0.0, 120.0, "a"),
        NumberFeature("schooling", 1.0, 16.0, "1"),
        NumberFeature("log_gain", 0.0, 12.0, "1"),
        NumberFeature("log_loss", 0.0, 12.0, "1"),
        NumberFeature("hours", 0.0, 100.0, "h"),
        *(CategoryFeature(name, _values(private, name)) for name in categories),
    ]
    return _cohort(
        "Income above 50,000",
        features,
        BinaryTarget("income", (">50K",), ("<=50K",)),
        LaplaceNoise(200),
        2.81,
        queries,
        LocalTraining(epochs=20, batch_size=16, optimizer="adam", learning_rate=0.02, weight_decay=0.001),
        LocalTraining(epochs=200, batch_size=0, optimizer="adam", learning_rate=0.03, weight_decay=0.003),
        (private, public, test),
        teachers,
        hospitals,
        rng,
    )


def diabetes_cohort(
    queries: int = 550, teachers: int = 25, hospitals: Sequence[str] = HOSPITALS, seed: int = 0
) -> Cohort:
    """Readmission within 30 days; as many encounters without as with; 15 % of the patients public, 20 % tests."""
    rng = np.random.default_rng(seed)
    rows = [row for row in _diabetes_rows() if row["discharge"] not in ("11", "13", "14", "19", "20", "21")]
    ill = [at for at, row in enumerate(rows) if row["readmitted"] == "<30"]
    well = [at for at, row in enumerate(rows) if row["readmitted"] != "<30"]
    kept = [rows[at] for at in rng.permutation([*ill, *rng.permutation(well)[: len(ill)]])]
    people = sorted({row["person"] for row in kept})
    part = dict(zip(rng.permutation(people).tolist(), (at / len(people) for at in range(len(people))), strict=True))
    public = [row for row in kept if part[row["person"]] < 0.15]
    test = [row for row in kept if 0.15 <= part[row["person"]] < 0.35]
    private = [row for row in kept if part[row["person"]] >= 0.35]
    features: list[Feature] = [
        NumberFeature("days", 1.0, 14.0, "d"),
        NumberFeature("lab_procedures", 0.0, 140.0, "1"),
        NumberFeature("procedures", 0.0, 10.0, "1"),
        NumberFeature("medications", 0.0, 100.0, "1"),
        NumberFeature("diagnoses", 1.0, 20.0, "1"),
        NumberFeature("log_outpatient", 0.0, 6.0, "1"),
        NumberFeature("log_emergency", 0.0, 6.0, "1"),
        NumberFeature("log_inpatient", 0.0, 6.0, "1"),
        NumberFeature("decade", 0.0, 9.0, "10 a"),
        CategoryFeature("home", ("1", "0")),
        CategoryFeature("care_facility", ("1", "0")),
        CategoryFeature("diabetes_drug", ("Yes", "No")),
        CategoryFeature("insulin_given", ("No", "Yes")),
        CategoryFeature("a1c_measured", ("No", "Yes")),
        CategoryFeature("drug_change", ("Ch", "No")),
    ]
    return _cohort(
        "Readmission within 30 days",
        features,
        BinaryTarget("readmitted", ("<30",), (">30", "NO")),
        GaussianNoise(1600),
        4.0,
        queries,
        LocalTraining(epochs=20, batch_size=16, optimizer="adam", learning_rate=0.02, weight_decay=0.03),
        LocalTraining(epochs=200, batch_size=0, optimizer="adam", learning_rate=0.03, weight_decay=0.001),
        (private, public, test),
        teachers,
        hospitals,
        rng,
    )


def has_pneumonia() -> bool:
    """Whether PneumoniaMNIST is there."""
    return (DATA / "pneumoniamnist" / "pneumoniamnist.npz").is_file()


def pneumonia_file() -> Any:
    """PneumoniaMNIST's arrays; to be closed."""
    return np.load(DATA / "pneumoniamnist" / "pneumoniamnist.npz")


def pneumonia_cohort(queries: int = 200, teachers: int = 10, hospitals: Sequence[str] = HOSPITALS) -> Cohort:
    """Pneumonia on chest radiographs of 7 by 7 pixels, each the mean of 16; the validation images are public.

    100 voters of about 24 images each, σ 20; the file is the balanced one of `SOURCE.txt`, not the official one.
    """
    rng = np.random.default_rng(1)
    with pneumonia_file() as file:
        private, public, test = (_image_rows(file, part) for part in ("train", "val", "test"))
    public = [public[at] for at in rng.permutation(len(public))]
    return _cohort(
        "Pneumonia on chest radiographs",
        [NumberFeature(f"pixel{at}", 0.0, 255.0) for at in range(_SIDE**2)],
        BinaryTarget("pneumonia", ("1",), ("0",)),
        GaussianNoise(400),
        4.73,
        queries,
        LocalTraining(epochs=30, batch_size=8, optimizer="adam", learning_rate=0.01, weight_decay=0.01),
        LocalTraining(epochs=200, batch_size=0, optimizer="adam", learning_rate=0.02, weight_decay=0.003),
        (private, public, test),
        teachers,
        hospitals,
        rng,
    )


def radiograph_cohort(
    queries: int = 200, teachers: int = 10, hospitals: Sequence[str] = HOSPITALS, private: int | None = None
) -> Cohort:
    """The same radiographs at their 28 by 28 pixels, with convolutional teachers and a convolutional student.

    `private` takes only so many of the private images, for tests.
    """
    rng = np.random.default_rng(1)
    with pneumonia_file() as file:
        rows, public, test = (pixel_rows(file, part) for part in ("train", "val", "test"))
    public = [public[at] for at in rng.permutation(len(public))]
    chosen = [rows[at] for at in rng.permutation(len(rows))[:private]]
    return _cohort(
        "Pneumonia on chest radiographs by convolution",
        [PixelsFeature("scan", 28)],
        BinaryTarget("pneumonia", ("1",), ("0",)),
        GaussianNoise(400),
        4.73,
        queries,
        LocalTraining(epochs=60, batch_size=0, optimizer="adam", learning_rate=0.01),
        LocalTraining(epochs=30, batch_size=16, optimizer="adam", learning_rate=0.003, weight_decay=0.001),
        (chosen, public, test),
        teachers,
        hospitals,
        rng,
        (SmallCnnModel(side=28, filters=8), SmallCnnModel(side=28, filters=16, shift=2)),
    )


def pixel_rows(file: Any, part: str) -> list[dict[str, Any]]:
    """The images of a part as cells, with label and person."""
    labels = file[f"{part}_labels"].reshape(-1)
    return [
        {
            "scan": base64.b64encode(image.tobytes()).decode(),
            "pneumonia": str(int(label)),
            "person": f"{part}{number}",
        }
        for number, (image, label) in enumerate(zip(file[f"{part}_images"], labels, strict=True))
    ]


def _image_rows(file: Any, part: str) -> list[dict[str, Any]]:
    images = file[f"{part}_images"].astype(float)
    block = images.shape[1] // _SIDE
    pixels = images.reshape(len(images), _SIDE, block, _SIDE, block).mean(axis=(2, 4)).reshape(len(images), -1).round(1)
    labels = file[f"{part}_labels"].reshape(-1)
    return [
        {f"pixel{at}": float(value) for at, value in enumerate(row)}
        | {"pneumonia": str(int(label)), "person": f"{part}{number}"}
        for number, (row, label) in enumerate(zip(pixels, labels, strict=True))
    ]


def _cohort(
    title: str,
    features: Sequence[Feature],
    target: BinaryTarget,
    noise: VoteNoise,
    epsilon: float,
    queries: int,
    local: LocalTraining,
    student: LocalTraining,
    parts: tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]],
    teachers: int,
    hospitals: Sequence[str],
    rng: np.random.Generator,
    models: tuple[ClassifierModel, ClassifierModel] = (MlpModel(), MlpModel()),
) -> Cohort:
    """`models` are the teachers' and the student's."""
    private, public, test = parts
    columns = [feature.name for feature in features]
    cases = _csv(public, columns)
    labelling = Labelling(
        noise=noise,
        cases=sha256(cases).hex(),
        queries=queries,
        batch=queries // 5,
        teachers=(teachers,) * len(hospitals),
        epsilon=round(epsilon * EPSILON_STEP),
        delta=round(1e-5 * DELTA_STEP),
        student=Student(student, models[1]),
        dropouts=1,
    )
    plan = Plan(
        purpose=Purpose(title, title.lower().replace(" ", "-"), "none", "research on labelling studies"),
        data=DataFormat(
            features=tuple(features),
            target=target,
            patient="person",
            validation_fraction=0.0,
            test_fraction=0.0,
        ),
        model=models[0],
        training=Training(1, local),
        participation=Participation(tuple(hospitals), len(hospitals) - 1, 50, 10_000_000, max_attempts=len(hospitals)),
        deadlines=Deadlines(),
        labelling=labelling,
    )
    needed = [*columns, target.column, "person"]
    people = sorted({row["person"] for row in private})
    home = dict(zip(people, rng.integers(0, len(hospitals), len(people)).tolist(), strict=True))
    tables = {
        name: _columns([row for row in private if home[row["person"]] == at], needed)
        for at, name in enumerate(hospitals)
    }
    labels = [row[target.column] for row in public]
    return Cohort(plan, tables, cases, labels, _columns(test, [*columns, target.column]))


def _adult_rows(path: Path, skip: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines()[skip:]:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_ADULT):
            continue
        row: dict[str, Any] = dict(zip(_ADULT, cells, strict=True))
        row["age"], row["schooling"], row["hours"] = int(row["age"]), int(row["schooling"]), int(row["hours"])
        row["log_gain"] = round(math.log1p(float(row["gain"])), 6)
        row["log_loss"] = round(math.log1p(float(row["loss"])), 6)
        row["income"] = row["income"].rstrip(".")
        rows.append(row)
    return rows


def _diabetes_rows() -> list[dict[str, Any]]:
    """With empty strings kept: "None" is a value of A1Cresult ("not measured") and nothing is missing."""
    with zipfile.ZipFile(DATA / "diabetes130" / "dataset_diabetes.zip") as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith("diabetic_data.csv"))
        text = archive.read(name).decode("utf-8")
    return [_diabetes_row(row) for row in csv.DictReader(io.StringIO(text))]


def _diabetes_row(row: dict[str, str]) -> dict[str, Any]:
    return {
        "person": row["patient_nbr"],
        "discharge": row["discharge_disposition_id"],
        "readmitted": row["readmitted"],
        "days": int(row["time_in_hospital"]),
        "lab_procedures": int(row["num_lab_procedures"]),
        "procedures": int(row["num_procedures"]),
        "medications": int(row["num_medications"]),
        "diagnoses": int(row["number_diagnoses"]),
        "log_outpatient": round(math.log1p(float(row["number_outpatient"])), 6),
        "log_emergency": round(math.log1p(float(row["number_emergency"])), 6),
        "log_inpatient": round(math.log1p(float(row["number_inpatient"])), 6),
        "decade": int(row["age"].strip("[)").split("-")[0]) // 10,
        "home": "1" if row["discharge_disposition_id"] == "1" else "0",
        "care_facility": "1" if row["discharge_disposition_id"] in ("3", "4", "5", "6", "22") else "0",
        "diabetes_drug": row["diabetesMed"],
        "insulin_given": "No" if row["insulin"] == "No" else "Yes",
        "a1c_measured": "No" if row["A1Cresult"] == "None" else "Yes",
        "drug_change": row["change"],
    }


def _values(rows: Iterable[dict[str, Any]], name: str) -> tuple[str, ...]:
    return tuple(sorted({row[name] for row in rows} - {"?"}))


def _columns(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Rows:
    return {name: [row[name] for row in rows] for name in names}


def _csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return out.getvalue().encode()
