"""How fast records are imported and searched, and in how much memory. Ratios to a floor measured in the same run.

Import: megabytes of FHIR JSON a second on one core, against parsing alone; peak memory as one Bundle grows. Search: 8
coded, 8 numeric and 4 set attributes, 10 % missing, against one pass of numpy over the same bytes.

    OMP_NUM_THREADS=1 python -m benchmarks.records_speed --data PATH [--bundle-mb 200]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from medfed.crypto import system_entropy
from medfed.diagnosis.similarity import CaseIndex, Query
from medfed.records.coding import local_coding
from medfed.records.columns import CaseColumns, number_step
from medfed.records.fhir.importer import find_fhir_files, import_fhir
from medfed.records.library import Library
from medfed.records.vocabulary import Attribute, CodedAttribute, NumberAttribute, SetAttribute

CODED, NUMERIC, SETS, MISSING = 8, 8, 4, 0.1


def seconds(action: Callable[[], object], times: int) -> float:
    """The median of several runs."""
    taken: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def random_columns(count: int, rng: np.random.Generator) -> CaseColumns:
    """Columns of random cases, made directly because a million rows of Python values take minutes."""
    attributes: list[Attribute] = [
        CodedAttribute(local_coding("b", f"c{n}"), tuple(local_coding("b", f"v{m}") for m in range(20)))
        for n in range(CODED)
    ]
    attributes += [NumberAttribute(local_coding("b", f"n{n}"), 0.0, 1.0) for n in range(NUMERIC)]
    members = tuple(local_coding("b", f"m{n}") for n in range(64))
    attributes += [SetAttribute(f"s{n}", "history", members) for n in range(SETS)]
    gone = rng.random((len(attributes), count)) < MISSING
    codes = {n: np.where(gone[n], 255, rng.integers(0, 20, count)).astype(np.uint8) for n in range(CODED)}
    numbers = {}
    for place in range(CODED, CODED + NUMERIC):
        numbers[place] = number_step(attributes[place], np.where(gone[place], np.nan, rng.random(count)))  # type: ignore[arg-type]
    sets, sizes = {}, {}
    for place in range(CODED + NUMERIC, len(attributes)):
        bits = rng.integers(0, 2**63, (3, count), dtype=np.uint64)
        chosen = np.where(gone[place], np.uint64(0), bits[0] & bits[1] & bits[2])
        sets[place] = chosen[None]
        sizes[place] = np.unpackbits(chosen.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.uint8)
    known = np.zeros((-(-len(attributes) // 8), count), np.uint8)
    for place in range(len(attributes)):
        known[place // 8] |= (~gone[place]).astype(np.uint8) << np.uint8(place % 8)
    places = tuple(range(len(attributes)))
    return CaseColumns(tuple(attributes), count, codes, numbers, sets, sizes, known, places, None)


def report_search() -> None:
    """Print the times of a search."""
    rng = np.random.default_rng(0)
    for count, times in ((10_000, 51), (1_000_000, 9)):
        columns = random_columns(count, rng)
        index = CaseIndex(columns, rng.random(len(columns.attributes)))
        query = Query(columns.row(0), nearest=20)
        taken = seconds(lambda index=index, query=query: index.search(query), times)
        arrays = [*columns.codes.values(), *columns.numbers.values(), *columns.sets.values()]

        def one_pass(arrays: list[np.ndarray] = arrays) -> float:
            return sum(float(array.max()) for array in arrays)

        floor = seconds(one_pass, times)
        print(
            f"search of {count:>9,} cases: {taken * 1e3:7.2f} ms ({taken / floor:.1f} x one pass over the arrays), "
            f"{columns.nbytes / count:.0f} bytes a case"
        )


def report_import(data: Path) -> None:
    """Print the rate of the import of Synthea."""
    files = find_fhir_files(data / "fhir_synthea_r4")
    size = sum(path.stat().st_size for path in files) / 1e6

    def parse() -> None:
        for path in files:
            orjson.loads(path.read_bytes())

    def imported() -> None:
        with tempfile.TemporaryDirectory() as folder:
            library = Library(Path(folder) / "library.db", system_entropy)
            report = import_fhir(library, files)
            library.close()
        if not report.is_balanced or not report.cases:
            raise SystemExit(f"benchmark: {report.cases} cases made of {report.read} records: nothing to measure")

    taken, floor = seconds(imported, 3), seconds(parse, 3)
    print(f"import of {size:.0f} MB of FHIR: {size / taken:.0f} MB/s ({taken / floor:.1f} x parsing alone)")


def import_one(path: Path) -> None:
    """Import one file and print its rate and the peak memory of this process, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder) / "library.db", system_entropy)
        start, busy = time.perf_counter(), time.process_time()
        report = import_fhir(library, [path])
        taken, busy = time.perf_counter() - start, time.process_time() - busy
    size = path.stat().st_size / 1e6
    found = {"rate": size / taken, "busy": size / busy, "peak": peak_megabytes(), "balanced": report.is_balanced}
    print(json.dumps(found))


def peak_megabytes() -> float:
    """Peak resident memory of this process, without what it was started from where the kernel says."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def report_memory(data: Path, largest: int) -> None:
    """Print the peak memory of the import of one Bundle of growing size, each in a process of its own."""
    entries: list[bytes] = []
    for path in find_fhir_files(data / "fhir_synthea_r4"):
        entries += [orjson.dumps(entry) for entry in orjson.loads(path.read_bytes())["entry"]]
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (largest // 10, largest):
            path = Path(folder) / "bundle.json"
            write_bundle(path, entries, megabytes)
            command = [sys.executable, "-m", "benchmarks.records_speed", "--import-one", str(path)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            assert found["balanced"]
            print(
                f"one Bundle of {megabytes:>5} MB: {found['rate']:.0f} MB/s, "
                f"{found['busy']:.0f} MB a second of processor, peak memory {found['peak']:.0f} MB"
            )


def write_bundle(path: Path, entries: list[bytes], megabytes: int) -> None:
    """A Bundle of that size: the entries over and over, each time of other patients."""
    with path.open("wb") as file:
        file.write(b'{"resourceType":"Bundle","type":"collection","entry":[')
        copy = 0
        while file.tell() < megabytes * 1_000_000:
            for number, entry in enumerate(entries):
                mark = f"{copy:04x}".encode()
                file.write((b"," if copy or number else b"") + renamed(entry, mark))
                if file.tell() >= megabytes * 1_000_000:
                    break
            copy += 1
        file.write(b"]}")


def renamed(entry: bytes, mark: bytes) -> bytes:
    """An entry of another patient: the first four digits of every identifier are `mark`."""
    parts = entry.split(b"urn:uuid:")
    renamed = b"urn:uuid:".join([parts[0], *(mark + part[4:] for part in parts[1:])])
    head, sign, tail = renamed.partition(b'"id":"')
    return head + sign + mark + tail[4:] if sign else renamed


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--bundle-mb", type=int, default=200)
    parser.add_argument("--import-one", type=Path)
    options = parser.parse_args()
    if options.import_one:
        import_one(options.import_one)
        return
    report_search()
    report_import(options.data)
    report_memory(options.data, options.bundle_mb)


if __name__ == "__main__":
    main()
