"""The accuracy figures, each with its interval, from one command: `python -m benchmarks.accuracy`.

Seeds are fixed, so a run repeats. A bar that is not met is printed as such.
"""

from __future__ import annotations

import argparse

from benchmarks import accuracy_flamby, accuracy_heart, accuracy_tcga
from benchmarks.cohorts import has_tcga


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help="heart, flamby, tcga; all of them by default")
    parser.add_argument("--seeds", type=int, default=5, help="cross-validations of the heart cohort")
    arguments = parser.parse_args()
    parts = arguments.parts or ["heart", "flamby", "tcga"]
    if "heart" in parts:
        accuracy_heart.report(arguments.seeds)
    if "flamby" in parts:
        accuracy_flamby.report()
    if "tcga" in parts:
        if has_tcga():
            accuracy_tcga.report()
        else:
            print("\nTCGA-BRCA: not measured, its files are not in ../shared/data")


if __name__ == "__main__":
    main()
