"""Sections as Markdown: the same text in the terminal and in `RESULTS.md`, with the machine and the commit above it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT, Section, Target


def render(sections: Sequence[Section]) -> str:
    """A whole page."""
    parts = ["# Benchmarks", described_machine(), *(render_section(section) for section in sections)]
    targets = [target for section in sections for target in section.targets]
    if targets:
        parts.insert(
            2, "## Targets\n\n" + table(("figure", "found", "target", ""), [target_row(one) for one in targets])
        )
    return "\n\n".join(parts) + "\n"


def render_section(section: Section) -> str:
    """Title, note and table."""
    return f"## {section.title}\n\n{section.note.strip()}\n\n{table(section.head, section.rows)}"


def target_row(target: Target) -> tuple[str, str, str, str]:
    """One line of the table of targets."""
    sign = "≤" if target.at_most else "≥"
    verdict = "met" if target.is_met else "**not met**"
    return target.what, f"{_number(target.found)} {target.unit}", f"{sign} {_number(target.bar)} {target.unit}", verdict


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal as well."""
    widths = [max(3, *(len(row[at]) for row in [head, *rows])) for at in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    padded = (" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {line} |" for line in padded)


def described_machine() -> str:
    """Processor, cores, interpreter and commit: what ratios can be compared across, and absolute times cannot."""
    commit = _output(["git", "rev-parse", "--short", "HEAD"])
    changed = ", with uncommitted changes" if _output(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{_processor()}, {_cores()} cores, {platform.system()}, {implementation}, NumPy {_numpy()}; "
        f"commit {commit or 'unknown'}{changed}. One thread. Times are "
        "processor time unless a line says wall clock: minima, with medians and maxima in brackets. Every ratio is "
        "between minima of one run."
    )


def _number(value: float) -> str:
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _numpy() -> str:
    import numpy as np

    return np.__version__


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def say(text: str) -> None:
    """What is being measured, for whoever waits; not part of the results."""
    print(text, file=sys.stderr, flush=True)
