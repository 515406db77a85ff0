"""The import contracts of pyproject.toml hold, and torch stays behind its adapter."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "medfed"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def _imports(body: list[ast.stmt]) -> set[str]:
    """Top-level names of the packages imported by these statements, nested blocks included, functions not."""
    found: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.Import):
            found |= {alias.name.split(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            found.add(statement.module.split(".")[0])
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ("body", "orelse", "finalbody"):
                found |= _imports(getattr(statement, name, []))
            for handler in getattr(statement, "handlers", []):
                found |= _imports(handler.body)
    return found


def test_every_import_contract_is_kept() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("import-linter is not installed beside this interpreter")
    done = subprocess.run([command, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_torch_is_imported_inside_functions_of_its_adapter_only() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        everywhere = _imports([node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)])
        if "torch" in everywhere:
            assert path.parent.name == "models", path
            assert path.stem.startswith("torch"), path
        assert "torch" not in _imports(tree.body), f"{path}: torch is imported when the module is"


def test_importing_medfed_imports_nothing_heavy() -> None:
    heavy = ["click", "cryptography", "msgspec", "numpy", "sqlite3"]
    code = f"import sys, medfed; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_asking_the_command_line_for_help_loads_no_arrays_and_no_cryptography() -> None:
    if not (PACKAGE / "cli" / "main.py").exists():
        pytest.skip("the command line does not exist yet")
    code = (
        "import sys\nfrom medfed.cli.main import main\nsys.argv = ['medfed', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('loaded:', *sorted({'numpy', 'cryptography', 'safetensors', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:", done.stdout
