"""Image sets by the command line: import from every format, check, write back; bad input is a line, never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from tests.support.pictures import blood_cells, drawn, file_of, voc_xml

from medfed.cli.main import main

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert int(left.value.code or 0) == code, err
        return out if code == 0 else err

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for index in range(3):
        (folder / f"jane-doe-{index}.png").write_bytes(file_of(drawn(seed=index)))
        text = voc_xml(f"jane-doe-{index}.png", [("cell", 5, 3, 20, 12), ("cell", 9, 9, 9, 12)])
        (folder / f"jane-doe-{index}.xml").write_text(text)
    return folder


def test_a_set_goes_round_through_all_three_formats_and_stays_the_same(source: Path, run: Run, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shown = run("imaging", "import", source, first, "--voc", source)
    assert "3 pictures read, 3 used; 6 boxes read, 3 used" in shown
    assert "jane" not in shown
    digest = json.loads(run("imaging", "check", first, "--json"))["set"]
    for kind in ("voc", "coco", "yolo"):
        out = tmp_path / kind
        run("imaging", "annotations", first, out, "--to", kind)
        again = tmp_path / f"again-{kind}"
        options = {
            "voc": ("--voc", out),
            "coco": ("--coco", out / "annotations.json"),
            "yolo": ("--yolo", out, "--names", out / "names.txt"),
        }[kind]
        made = json.loads(run("imaging", "import", first, again, *options, "--json"))
        assert made["classes"] == {"cell": 3}
        if kind != "yolo":  # its shares have nine digits
            assert made["set"] == digest


def test_a_list_chooses_and_labels_leave_out(source: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("jane-doe-1\n")
    made = json.loads(
        run("imaging", "import", source, tmp_path / "set", "--voc", source, "--only", tmp_path / "list.txt",
            "--label", "other", "--json")
    )  # fmt: skip
    assert made["pictures"] == {"read": 1, "used": 1}
    assert made["classes"] == {"other": 0}


def test_what_is_wrong_is_one_line(source: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("../jane-doe-1\n")
    (tmp_path / "exists").mkdir()
    target = tmp_path / "set"
    for arguments in (
        ("import", source, target),
        ("import", source, target, "--voc", source, "--coco", source),
        ("import", source, target, "--voc", tmp_path / "absent"),
        ("import", tmp_path / "absent", target, "--voc", source),
        ("import", source, target, "--coco", tmp_path / "absent.json"),
        ("import", source, target, "--yolo", source),
        ("import", source, target, "--voc", source, "--only", tmp_path / "list.txt"),
        ("import", source, source, "--voc", source),
        ("check", tmp_path / "exists"),
        ("annotations", source, tmp_path / "out", "--to", "voc"),
    ):
        error = run("imaging", *arguments, code=2)
        assert len(error.strip().splitlines()) == 1, error


def test_a_changed_picture_stops_the_check(source: Path, run: Run, tmp_path: Path) -> None:
    run("imaging", "import", source, tmp_path / "set", "--voc", source)
    victim = next((tmp_path / "set").glob("*.png"))
    victim.write_bytes(file_of(drawn(seed=9)))
    assert "not those that were imported" in run("imaging", "check", tmp_path / "set", code=5)


@pytest.mark.slow
def test_the_blood_cells_are_imported_whole_with_their_two_wrong_boxes_explained(run: Run, tmp_path: Path) -> None:
    folder = blood_cells()
    made = json.loads(
        run("imaging", "import", folder / "JPEGImages", tmp_path / "set", "--voc", folder / "Annotations", "--json")
    )
    assert made["pictures"] == {"read": 364, "used": 364}
    assert made["boxes"] == {"read": 4888, "used": 4886}
    assert made["classes"] == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    assert [line for line in made["lines"] if "left out" in line] == [
        "source 300, object 13: box left out: the box is thinner than a pixel: its corners are the same",
        "source 305, object 4: box left out: the box is thinner than a pixel: its corners are the same",
    ]


def test_a_review_becomes_a_new_set_and_reports(source: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    images = tmp_path / "set"
    run("imaging", "import", source, images, "--voc", source)
    found = [{"image_id": 1, "category_id": 1, "bbox": [2, 2, 8, 8], "score": 0.9}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    page = tmp_path / "page.html"
    shown = run("imaging", "review", images, page, "--detections", tmp_path / "found.json", "--first", 2)
    assert "2 of 3 pictures, 2 annotated and 1 detected boxes" in shown
    assert page.stat().st_mode & 0o077 == 0
    assert "exists" in run("imaging", "review", images, page, code=2)
    data = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    boxes = [{**box, "decision": "accepted"} for box in data["pictures"][0]["boxes"]]
    review = {
        "set": data["set"],
        "reviewer": "Dr A",
        "pictures": [{"file": data["pictures"][0]["file"], "boxes": boxes}],
    }
    (tmp_path / "review.json").write_text(json.dumps(review))
    new = tmp_path / "new"
    assert "1 kept, 1 accepted" in run("imaging", "apply-review", images, tmp_path / "review.json", new)
    assert json.loads(run("imaging", "check", new, "--json"))["classes"] == {"cell": 4}
    shown = run("imaging", "report", new, source, tmp_path / "reports", "--observer", "Roe^Ann")
    assert "3 reports with 4 findings" in shown
    assert "jane" not in shown
    run("imaging", "apply-review", new, tmp_path / "review.json", tmp_path / "other", code=2)


def test_pictures_are_deidentified_under_the_sites_key(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydicom")
    from tests.support.dicom import pydicom_files

    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("MR_small.dcm", "examples_rgb_color.dcm", "rtplan.dcm"):
        (folder / name).write_bytes((pydicom_files() / "test_files" / name).read_bytes())
    monkeypatch.setenv("MEDFED_PASSPHRASE", "a long passphrase for a test")
    site, look = tmp_path / "site", tmp_path / "look.html"
    run("keys", "create", site, "--name", "north")
    shown = run("imaging", "deidentify", folder, tmp_path / "clean", "--site", site, "--look", look)
    assert "3 files: 1 de-identified (0 cleared by a person), 1 held, 1 left out" in shown
    held = json.loads(run("imaging", "deidentify", folder, tmp_path / "again", "--site", site, "--json"))["held"]
    (tmp_path / "marks.txt").write_text(held[0]["mark"])
    options = ("--site", site, "--cleared", tmp_path / "marks.txt")
    assert "2 de-identified (1 cleared" in run("imaging", "deidentify", folder, tmp_path / "all", *options)
    one = {path.name for path in (tmp_path / "clean").iterdir()}
    assert one < {path.name for path in (tmp_path / "all").iterdir()}
    run("imaging", "deidentify", folder, tmp_path / "all", *options, code=2)
