"""Model code runs only as the bytes that were approved, and only what a module offers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medfed.errors import InvalidInput, Refused
from medfed.models.approved_code import code_digest, load_approved

CODE = """
from .parts import VALUE

MEDFED_MODELS = ("make",)


def make():
    return VALUE


def other():
    pass
"""
TOP = "own_models_of_a_test"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / TOP
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "nets.py").write_text(CODE)
    (folder / "parts.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield folder
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_the_digest_changes_with_every_byte_of_every_file_and_runs_nothing(package: Path) -> None:
    first = code_digest(f"{TOP}.nets:make")
    assert f"{TOP}.nets" not in sys.modules
    (package / "parts.py").write_text("VALUE = 8\n")
    second = code_digest(f"{TOP}.nets:make")
    (package / "unused.py").write_text("")
    assert len({first, second, code_digest(f"{TOP}.nets:make")}) == 3


def test_what_is_run_is_what_was_digested_although_the_files_change_afterwards(package: Path) -> None:
    digest = code_digest(f"{TOP}.nets:make")
    make = load_approved(f"{TOP}.nets:make", digest)
    (package / "parts.py").write_text("VALUE = 8\n")
    assert make() == 7
    assert load_approved(f"{TOP}.nets:make", digest)() == 7
    with pytest.raises(Refused, match="approved is"):
        load_approved(f"{TOP}.nets:make", code_digest(f"{TOP}.nets:make"))


def test_code_that_was_changed_is_refused_before_a_line_of_it_runs(package: Path) -> None:
    digest = code_digest(f"{TOP}.nets:make")
    (package / "__init__.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(Refused, match="approved is"):
        load_approved(f"{TOP}.nets:make", digest)


def test_a_compiled_copy_beside_the_source_is_never_run(package: Path) -> None:
    import py_compile

    digest = code_digest(f"{TOP}.nets:make")
    evil = package.parent / "evil.py"
    evil.write_text("VALUE = 666\n")
    cached = package / "__pycache__" / f"parts.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(evil), str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert load_approved(f"{TOP}.nets:make", digest)() == 7


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{TOP}.nets:other", "MEDFED_MODELS"),
        (f"{TOP}.nothing:make", "no such module"),
        ("no_such_package_anywhere:make", "not on this machine"),
        ("shutil:rmtree", "MEDFED_MODELS"),
        ("sys:exit", "not on this machine"),
    ],
)
def test_what_is_not_offered_cannot_be_named(package: Path, path: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        code_digest(path)


def test_code_that_the_process_has_from_elsewhere_is_refused(package: Path) -> None:
    __import__(TOP)
    with pytest.raises(Refused, match="from elsewhere"):
        load_approved(f"{TOP}.nets:make", code_digest(f"{TOP}.nets:make"))
