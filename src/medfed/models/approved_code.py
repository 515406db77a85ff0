"""Model code that a consortium brings along: found, digested and imported only as exactly what was approved.

A plan names code by path and digest. What is executed are the very bytes that were digested, never a file that changed
since and never a compiled copy; of the package nothing else can be imported. A module offers models by naming them in
`MEDFED_MODELS`, which is read without running anything, so that no plan can call code that was not made for it. This
module must never run code whose digest is another.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from medfed.encoding import digest_of
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import sha256

__all__ = ["OFFER", "code_digest", "load_approved"]

OFFER: Final = "MEDFED_MODELS"
_MOST_FILES: Final = 1000
_MOST_BYTES: Final = 16 << 20


def code_digest(path: str) -> str:
    """The digest, in hexadecimal, of the code that `package.module:name` is in, as it is on this machine.

    Every source file of the top-level package counts, by its name and bytes. Nothing is run.

    Raises:
        InvalidInput: it is not here, is not source code, is too large, or does not offer that name.
    """
    sources = _sources_of(path)
    _check_offer(path, sources)
    return _digest(sources)


def load_approved(path: str, digest: str) -> Any:
    """What `package.module:name` is, from code whose digest is `digest`.

    Raises:
        InvalidInput: as `code_digest`. Refused: `code-differs`: the code here is another than was approved;
            `code-loaded`: this process has imported the package from elsewhere.
    """
    module_name, _, name = path.partition(":")
    top = module_name.partition(".")[0]
    known = next((finder for finder in sys.meta_path if isinstance(finder, _Approved) and finder.top == top), None)
    if known is None:
        sources = _sources_of(path)
        _check_offer(path, sources)
        found = _digest(sources)
        if found != digest:
            raise Refused(
                "code-differs", f"{top}: the code on this machine is {found[:16]}…, approved is {digest[:16]}…"
            )
        if top in sys.modules:
            raise Refused("code-loaded", f"{top}: this process has it from elsewhere; start it anew")
        known = _Approved(top, digest, sources)
        sys.meta_path.insert(0, known)
    elif known.digest != digest:
        raise Refused("code-differs", f"{top}: this process runs {known.digest[:16]}…, approved is {digest[:16]}…")
    _check_offer(path, known.sources)
    return getattr(importlib.import_module(module_name), name)


class _Approved(MetaPathFinder, InspectLoader):
    """Imports one package from bytes in memory."""

    def __init__(self, top: str, digest: str, sources: Mapping[str, bytes]) -> None:
        self.top, self.digest, self.sources = top, digest, sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's place in the package; none for other packages, an error for what the package does not have."""
        if fullname.partition(".")[0] != self.top:
            return None
        if _file_in(fullname, self.sources) is None:
            raise ModuleNotFoundError(f"{fullname} is not part of the approved code", name=fullname)
        return spec_from_loader(fullname, self)

    def is_package(self, fullname: str) -> bool:
        """Whether it is a folder."""
        file = _file_in(fullname, self.sources)
        return file is not None and file.endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        """The approved text."""
        file = _file_in(fullname, self.sources)
        if file is None:
            raise ImportError(fullname)
        return self.sources[file].decode("utf-8")

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from the approved text, never from a file."""
        return compile(self.get_source(fullname), f"<approved {fullname}>", "exec", dont_inherit=True)


def _sources_of(path: str) -> dict[str, bytes]:
    """The package's source files by name relative to it: `top.py`, or `top/….py`."""
    top = path.partition(":")[0].partition(".")[0]
    spec = PathFinder.find_spec(top)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise InvalidInput(f"model code {top}: it is not on this machine's Python path")
    if spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations)))
        files = sorted(file for file in root.rglob("*.py") if file.is_file())
        names = {f"{top}/{file.relative_to(root).as_posix()}": file for file in files}
    else:
        names = {f"{top}.py": Path(spec.origin or "")}
    if not names or len(names) > _MOST_FILES or any(file.suffix != ".py" for file in names.values()):
        raise InvalidInput(f"model code {top}: expected 1 to {_MOST_FILES} source files and nothing compiled")
    try:
        if sum(file.stat().st_size for file in names.values()) > _MOST_BYTES:
            raise InvalidInput(f"model code {top}: more than {_MOST_BYTES >> 20} MiB")
        return {name: file.read_bytes() for name, file in names.items()}
    except OSError as error:
        raise InvalidInput(f"model code {top}: it cannot be read ({type(error).__name__})") from None


def _digest(sources: Mapping[str, bytes]) -> str:
    return digest_of("medfed/model-code", [(name, sha256(data)) for name, data in sorted(sources.items())]).hex()


def _file_in(module: str, sources: Mapping[str, bytes]) -> str | None:
    stem = module.replace(".", "/")
    return next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in sources), None)


def _check_offer(path: str, sources: Mapping[str, bytes]) -> None:
    """That the module itself names what a plan may call."""
    module, _, name = path.partition(":")
    file = _file_in(module, sources)
    if file is None:
        raise InvalidInput(f"model code {module}: the package has no such module")
    try:
        tree = ast.parse(sources[file])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidInput(f"model code {module}: it is not Python that can be read") from None
    if name not in _offered(tree):
        raise InvalidInput(f"model code {module}: it does not name {name!r} in {OFFER}, so no plan may use it")


def _offered(tree: ast.Module) -> tuple[str, ...]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, (ast.Tuple, ast.List)):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if names == [OFFER]:
                cells = (cell.value for cell in statement.value.elts if isinstance(cell, ast.Constant))
                return tuple(cell for cell in cells if isinstance(cell, str))
    return ()
