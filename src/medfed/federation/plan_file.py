"""A plan as a TOML file that people write, read and discuss.

Sections follow the records of `plan`; deadlines are seconds or texts such as "10m". Errors name the file, the line
where it is known, and the field. This module must never accept a key that it does not know.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import inspect

from medfed.errors import InvalidInput
from medfed.federation.durations import duration_text, parse_duration
from medfed.federation.plan import Plan
from medfed.federation.plan_rules import Problem, plan_problems, problem_of
from medfed.federation.toml_text import format_toml, line_numbers, line_of
from medfed.input_file import parse_toml, read_input

__all__ = ["MAX_FILE_BYTES", "format_plan", "load_plan", "parse_plan"]

MAX_FILE_BYTES: Final = 1 << 20


def load_plan(path: Path | str) -> Plan:
    """The plan in a TOML file, checked in full.

    Raises:
        InvalidInput: the file is absent, too large, not UTF-8, not TOML, or not a plan that may be proposed.
    """
    path = Path(path)
    try:
        return parse_plan(read_input(path, MAX_FILE_BYTES, str(path)).decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not UTF-8") from None


def parse_plan(text: str, source: str) -> Plan:
    """The plan in a TOML document; `source` is what errors call it.

    Raises:
        InvalidInput: the text is too large, not TOML, or not a plan that may be proposed; one line a problem.
    """
    if len(text) > MAX_FILE_BYTES:
        raise InvalidInput(f"{source}: larger than {MAX_FILE_BYTES >> 10} KiB")
    plan, problems = _read(parse_toml(text, source))
    if plan is None or problems:
        lines = line_numbers(text)
        raise InvalidInput("\n".join(_sentence(source, problem, lines) for problem in problems))
    return plan


def format_plan(plan: Plan) -> str:
    """A TOML document with every field written out; `parse_plan` gives the same plan back."""
    document = cast("dict[str, Any]", msgspec.to_builtins(plan))
    version = {"version": document.pop("version")}
    deadlines = cast("dict[str, int]", document["deadlines"])
    document["deadlines"] = {name: duration_text(limit) for name, limit in deadlines.items()}
    return format_toml(version | document)


def _read(document: dict[str, Any]) -> tuple[Plan | None, list[Problem]]:
    problems = list(_unknown_keys(document, inspect.type_info(Plan), ""))
    problems += _convert_deadlines(document)
    if problems:
        return None, problems
    try:
        plan = msgspec.convert(document, Plan)
    except msgspec.ValidationError as error:
        return None, [problem_of(error)]
    return plan, plan_problems(plan)


def _convert_deadlines(document: dict[str, Any]) -> list[Problem]:
    """Put milliseconds in place; what is no duration stays, and is reported."""
    problems: list[Problem] = []
    deadlines = document.get("deadlines")
    if isinstance(deadlines, dict):
        limits = cast("dict[str, Any]", deadlines)
        for name, value in limits.items():
            try:
                limits[name] = parse_duration(value)
            except InvalidInput as error:
                problems.append(Problem(f"deadlines.{name}", str(error)))
    return problems


def _unknown_keys(value: Any, kind: inspect.Type, path: str) -> Iterator[Problem]:
    if isinstance(kind, inspect.UnionType):
        kind = _chosen(value, kind)
    if isinstance(kind, inspect.StructType) and isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        fields = {field.encode_name: field.type for field in kind.fields}
        known = [*fields, kind.tag_field] if kind.tag_field else list(fields)
        for key, inner in table.items():
            here = f"{path}.{key}" if path else key
            if key in fields:
                yield from _unknown_keys(inner, fields[key], here)
            elif key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
                yield Problem(here, f"unknown key; {hint}")
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        for at, inner in enumerate(cast("list[Any]", value)):
            yield from _unknown_keys(inner, kind.item_type, f"{path}[{at}]")


def _chosen(value: Any, union: inspect.UnionType) -> inspect.Type:
    """The member that the table's tag names; an unknown tag is left to the conversion to report."""
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        for member in union.types:
            if isinstance(member, inspect.StructType) and table.get(member.tag_field or "") == member.tag:
                return member
    return inspect.AnyType()


def _sentence(source: str, problem: Problem, lines: Mapping[str, int]) -> str:
    line = line_of(problem.path, lines)
    where = f"{source}, line {line}" if line is not None else source
    return f"{where}: {problem.path}: {problem.sentence}"
