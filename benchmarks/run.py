"""Speed, memory and growth against floors, peers and targets: `python -m benchmarks.run [--quick] [SUBJECT …]`.

Prints Markdown tables, and a whole run writes them to `benchmarks/RESULTS.md`. Peers (`requirements/bench.in`) that are
not installed are left out, with a line that says so. Accuracy is measured by `python -m benchmarks.accuracy`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

SUBJECTS = {
    "secure-sum": "secure_sum",
    "ledger": "ledger",
    "job": "job",
    "growth": "growth",
    "alignment": "alignment",
}
RESULTS = Path(__file__).with_name("RESULTS.md")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen subjects; 1 if a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"{', '.join(SUBJECTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer passes; nothing is written")
    parser.add_argument("--output", type=Path, help="where to write; a whole run writes benchmarks/RESULTS.md")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.subjects if name not in SUBJECTS]
    if unknown:
        parser.error(f"unknown subject {unknown[0]}; expected {', '.join(SUBJECTS)}")
    for name in _ONE_THREAD:  # before NumPy is imported: matrices this small lose more to waiting than they gain
        os.environ.setdefault(name, "1")
    from benchmarks.results import render

    sections: list[Any] = []
    for name in chosen.subjects or SUBJECTS:
        sections += import_module(f"benchmarks.{SUBJECTS[name]}").report(quick=chosen.quick)
    page = render(sections)
    print(page)
    output = chosen.output or (None if chosen.quick or chosen.subjects else RESULTS)
    if output is not None:
        output.write_text(page, encoding="utf-8")
    missed = [target.what for section in sections for target in section.targets if not target.is_met]
    for what in missed:
        print(f"not met: {what}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
