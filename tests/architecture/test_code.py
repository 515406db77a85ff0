"""Names, sizes and docstrings of src/medfed are what the conventions say."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "medfed"
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "tools", "stuff"}
LONGEST_MODULE = 400
LONGEST_FUNCTION = 70

each_module = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


@each_module
def test_a_module_is_named_after_what_it_is_about(path: Path) -> None:
    words = {word for part in path.relative_to(PACKAGE).with_suffix("").parts for word in part.split("_")}
    assert not words & NAMELESS


@each_module
def test_a_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if path.name != "__init__.py" or path.read_text().strip():
        assert docstring
        assert len(docstring.split()) >= 4, docstring


@each_module
def test_a_module_is_at_most_400_lines_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@each_module
def test_a_function_fits_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{node.name}: {lines} lines"


@each_module
def test_a_public_class_or_function_has_a_docstring(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@each_module
def test_nothing_is_left_undone(path: Path) -> None:
    text = path.read_text()
    comments = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    assert not [comment for comment in comments if re.search(r"\b(?:TODO|FIXME|XXX|HACK)\b", comment)]
    assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and n.id == "NotImplementedError"]


@each_module
def test_a_module_keeps_no_state_that_a_caller_could_change(path: Path) -> None:
    """A dictionary, list or set at module level is a table; a table is written in capitals and annotated Final."""
    for node in ast.parse(path.read_text()).body:
        mutable = (ast.Dict, ast.List, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
        if isinstance(node, ast.Assign) and isinstance(node.value, mutable):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            assert names == ["__all__"], f"line {node.lineno}"
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, mutable):
            assert "Final" in ast.unparse(node.annotation), f"line {node.lineno}"
