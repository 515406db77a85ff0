"""The inputs that are kept: a few valid seeds of each target, and every input that once failed.

`python -m tests.fuzz.corpus` writes the seeds anew from code. Inputs that failed are added by `tests.fuzz.run`, and
stay; large ones are packed.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from medfed.identifiers import sha256

PLACE = Path(__file__).parent / "corpus"
LARGEST = 16 * 1024
PLAIN = 4 * 1024


def kept(target: str) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a target's files, in order."""
    for path in sorted((PLACE / target).glob("*")):
        data = path.read_bytes()
        yield path.name, gzip.decompress(data) if path.suffix == ".gz" else data


def keep_crash(target: str, data: bytes) -> Path:
    """Add an input that failed."""
    return _keep(target, "found", data)


def write_seeds() -> None:
    """The valid seeds, in place of the earlier ones."""
    from tests.fuzz.targets import TARGETS

    for target in TARGETS.values():
        for old in (PLACE / target.name).glob("seed-*"):
            old.unlink()
        for data in target.seeds()[:6] if target.keep else ():
            if len(data) <= LARGEST:
                _keep(target.name, "seed", data)


def _keep(target: str, kind: str, data: bytes) -> Path:
    folder = PLACE / target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{sha256(data).hex()[:12]}"
    if len(data) > PLAIN:
        path = path.with_suffix(".gz")
        data = gzip.compress(data, mtime=0)
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    write_seeds()
