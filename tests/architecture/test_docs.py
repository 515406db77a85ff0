"""The documentation is in step with the program: its links, its commands, its code, its decision records."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
HEART = ROOT / "src" / "medfed" / "demo" / "data"
HEART_HEADER = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def _commands(page: Path, program: str) -> list[list[str]]:
    """The words after `program` of every `$ program …` line in the page's console blocks."""
    found: list[list[str]] = []
    for block in _blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                while words and "=" in words[0]:
                    words = words[1:]
                if words and words[0] == program:
                    ends = [at for at, word in enumerate(words) if word in ("|", ">", "&&", "&")]
                    found.append(words[1 : ends[0] if ends else None])
    return found


def _anchors(page: Path) -> set[str]:
    """Headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


@each_page
def test_make_targets_that_are_shown_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in _commands(page, "make") if words} <= targets


@each_page
def test_commands_that_are_shown_exist_with_these_options(page: Path) -> None:
    if not (ROOT / "src" / "medfed" / "cli" / "main.py").exists():
        pytest.skip("the command line does not exist yet")
    for words in _commands(page, "medfed"):
        _check_command(words)


def _check_command(words: list[str]) -> None:
    import click
    from click.testing import CliRunner

    module = importlib.import_module("medfed.cli.main")
    command: Any = next(value for value in vars(module).values() if isinstance(value, click.Group))
    root: Any = command
    path: list[str] = []
    shown = shlex.join(["medfed", *words])
    while isinstance(command, click.Group):
        context = click.Context(command)
        options, rest, _ = _split(command, context, words)
        if not rest:
            assert options.get("help") or options.get("version") or not path or command.invoke_without_command, shown
            return
        found = command.get_command(context, rest[0])
        assert found is not None, f"{shown}: no command {rest[0]!r}"
        command, path, words = found, [*path, rest[0]], rest[1:]
    options, rest, _ = _split(command, click.Context(command), words)
    assert not rest, f"{shown}: {rest} is too much"
    if not options.get("help"):
        lacking = [p.name for p in command.params if p.required and _is_absent(options.get(p.name or ""))]
        assert not lacking, f"{shown}: {lacking} is required"
    assert CliRunner().invoke(root, [*path, "--help"]).exit_code == 0, shown


def _split(command: Any, context: Any, words: list[str]) -> Any:
    """Option values by parameter, what is left, and the order, from click's own parser; unknown options raise."""
    return command.make_parser(context).parse_args(list(words))


def _is_absent(value: Any) -> bool:
    return value is None or value == () or "UNSET" in repr(value)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_record_has_its_parts_in_order(record: Path) -> None:
    text = record.read_text()
    assert re.match(rf"# {record.name[:4]}\. .+\n\nStatus: (accepted|proposed|replaced)", text)
    places = [text.index(f"\n## {part}\n") for part in ("Context", "Decision", "Consequences")]
    assert places == sorted(places)


def test_decision_records_are_numbered_once_each_and_listed() -> None:
    assert len({record.name[:4] for record in RECORDS}) == len(RECORDS)
    listing = (ROOT / "docs" / "decisions" / "README.md").read_text()
    for record in RECORDS:
        title = record.read_text().splitlines()[0].removeprefix(f"# {record.name[:4]}. ")
        assert f"| [{record.name[:4]}]({record.name}) | {title} |" in listing


def test_every_page_is_reachable_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text())
        waiting += [(page.parent / target).resolve() for target in targets]
    assert set(PAGES) - reached == set()


def test_the_packages_of_the_architecture_page_are_those_of_the_source_tree() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("## Packages", 1)[1].split("Three rules", 1)[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    source = ROOT / "src" / "medfed"
    packages = {path.name for path in source.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in source.glob("*.py")} - {"__init__", "__main__"}
    assert named == packages | modules


@pytest.mark.slow
def test_the_readme_example_runs_as_it_is_printed(tmp_path: Path) -> None:
    for name, file in [("cleveland", "cleveland"), ("hungary", "hungarian"), ("long-beach", "va")]:
        _write_table(tmp_path / f"{name}.csv", HEART / f"processed.{file}.data")
    _write_table(tmp_path / "switzerland.csv", HEART / "processed.switzerland.data")
    shutil.copy(tmp_path / "cleveland.csv", tmp_path / "new.csv")
    shutil.copy(HEART / "heart.toml", tmp_path)
    (example,) = _blocks(ROOT / "README.md", "python")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "heart.ledger").stat().st_size > 0
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def _write_table(path: Path, source: Path) -> None:
    path.write_text(f"{HEART_HEADER}\n{source.read_text()}")
