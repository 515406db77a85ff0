"""Imports FHIR R4: files are streamed, resources become facts in the library's file, patients become cases.

One import is one transaction: a kill in the middle leaves the library as it was. Every resource read is used, or has a
line in the report; nothing is guessed and nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from medfed.encoding import Record, encode
from medfed.errors import InvalidInput, MedFedError
from medfed.identifiers import sha256
from medfed.records.fhir.assemble import assemble
from medfed.records.fhir.elements import Json, Reading, Unusable, object_of, objects, text_of
from medfed.records.fhir.extract import extract, refuse_modifiers
from medfed.records.fhir.facts import DrugFact
from medfed.records.fhir.sources import Stream, open_streams, split_lines
from medfed.records.fhir.split import split_entries
from medfed.records.fhir.staging import Staged, Staging
from medfed.records.library import Library
from medfed.records.report import ImportReport
from medfed.records.units import UnitConverter

__all__ = ["FhirSettings", "find_fhir_files", "import_fhir"]

ORIGIN: Final = "fhir"
_DEEPEST_BUNDLE: Final = 3
_TYPE: Final = re.compile(rb'^\s*\{(?:\s*"(?:id|language)"\s*:\s*"[^"]*"\s*,)*\s*"resourceType"\s*:\s*"(\w+)"')
_NAME: Final = re.compile(r"[A-Z][A-Za-z]{2,40}\Z")
_ENDINGS: Final = (".json", ".ndjson", ".jsonl", ".json.gz", ".ndjson.gz", ".jsonl.gz", ".zip")
_DAY: Final = 86_400


class FhirSettings(Record, frozen=True):
    """How one site's FHIR is read."""

    zone_minutes: int = 0
    """Minutes east of UTC of dates and times without a zone."""
    own_bases: tuple[str, ...] = ()
    """Addresses of the site's own servers, such as `https://fhir.example.org/r4`: left off the keys of resources."""
    lookback_days: int = 365
    """How long before the diagnosis a measurement or drug still describes the patient."""
    now: int | None = None
    """UTC seconds; what lies after it is impossible. None checks nothing."""


class _Place(NamedTuple):
    source: int
    path: str
    base: str = ""
    alias: str = ""


def find_fhir_files(folder: Path) -> list[Path]:
    """Every file in `folder` and below that can be imported, in the order of names."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name.lower().endswith(_ENDINGS))


def import_fhir(
    library: Library,
    paths: Sequence[Path],
    settings: FhirSettings | None = None,
    units: UnitConverter | None = None,
) -> ImportReport:
    """Read the files, in order, into the library.

    With `units`, a quantity whose unit shown contradicts its UCUM code is refused; without, the code is taken.

    Raises:
        Unavailable: a file or the library cannot be read or written. What is wrong inside files is in the report.
    """
    report = ImportReport(sources=tuple(paths))
    with library.transaction():
        run = _Import(library, report, settings or FhirSettings(), units)
        for number, path in enumerate(paths, 1):
            run.read(number, path)
        run.finish()
    return report


class _Import:
    def __init__(
        self, library: Library, report: ImportReport, settings: FhirSettings, units: UnitConverter | None
    ) -> None:
        self._library, self._report, self._settings = library, report, settings
        self._staging = Staging(library, report)
        self._reading = Reading("", settings.own_bases, settings.zone_minutes, units, settings.now)

    def read(self, number: int, path: Path) -> None:
        try:
            for stream in open_streams(path):
                prefix = f"{stream.label}: " if stream.label else ""
                try:
                    (self._read_lines if stream.is_lines else self._read_document)(number, prefix, stream)
                except InvalidInput as error:
                    self._lost(_Place(number, prefix or "file"), "?", str(error))
        except InvalidInput as error:
            self._lost(_Place(number, "file"), "?", str(error))

    def finish(self) -> None:
        """Make the cases of every patient with something new."""
        self._staging.resolve()
        for owner in self._staging.touched():
            self._assemble(owner)
        self._staging.settle()

    def _assemble(self, owner: str) -> None:
        made = assemble(
            owner,
            self._staging.rows(owner),
            self._staging.medication,
            self._library.id_of,
            self._settings.lookback_days * _DAY,
        )
        for kind, reason in made.notes:
            self._report.note(kind, reason)
        kept: list[str] = []
        for case in made.cases:
            try:
                stored = self._library.put(case, ORIGIN)
            except MedFedError as error:
                made.states[case.source] = str(error)
                continue
            kept.append(case.id)
            if stored == "made":
                self._report.cases += 1
            else:
                self._report.unchanged += 1
        self._report.removed += self._library.keep_only(owner, ORIGIN, kept)
        self._staging.mark(made.states)

    def _read_lines(self, number: int, prefix: str, stream: Stream) -> None:
        for count, line in enumerate(split_lines(stream.chunks), 1):
            place = _Place(number, f"{prefix}line {count}")
            if line is None:
                self._lost(place, "?", "the line is longer than its bound")
            else:
                self._read_bytes(place, line)

    def _read_document(self, number: int, prefix: str, stream: Stream) -> None:
        chunks = iter(stream.chunks)
        first = next(chunks, b"")
        named = _TYPE.match(first)
        if named is not None and named[1] != b"Bundle":
            self._read_bytes(_Place(number, f"{prefix}document"), _whole(first, chunks))
            return
        count = 0
        for piece in split_entries(_chain(first, chunks)):
            if piece.is_element:
                self._read_entry(_Place(number, f"{prefix}entry[{count}]"), piece.data)
                count += 1
                continue
            try:
                shell = object_of(orjson.loads(piece.data))
                problem = _bundle_problem(shell)
            except ValueError:
                shell, problem = None, "not JSON between its entries"
            if problem and not count and shell is not None:
                self._take(_Place(number, f"{prefix}document"), shell, piece.data)
            elif problem:
                self._staging.refuse_source(number, f"{prefix}entry[", f"its Bundle cannot be used: {problem}")
                if not count:
                    self._lost(_Place(number, f"{prefix}document"), "?", problem)

    def _read_bytes(self, place: _Place, data: bytes) -> None:
        try:
            value = orjson.loads(data)
        except ValueError:
            self._lost(place, "?", "not JSON in UTF-8")
            return
        self._read_value(place, value, data)

    def _read_entry(self, place: _Place, data: bytes) -> None:
        try:
            entry = orjson.loads(data)
        except ValueError:
            self._lost(place, "?", "not JSON in UTF-8")
            return
        self._read_entry_value(place, entry, data, 1)

    def _read_value(self, place: _Place, value: object, data: bytes, depth: int = 0) -> None:
        resource = object_of(value)
        if resource is None:
            self._lost(place, "?", "expected an object")
            return
        if resource.get("resourceType") != "Bundle":
            self._take(place, resource, data)
            return
        problem = _bundle_problem(resource) if depth < _DEEPEST_BUNDLE else "Bundles nested too deeply"
        try:
            entries = objects(resource.get("entry"), "entry")
        except Unusable as error:
            problem, entries = str(error), []
        if problem or not entries:
            self._lost(place, "Bundle", problem or "has no entries")
        for number, entry in enumerate(entries if not problem else []):
            inner = _Place(place.source, f"{place.path}.entry[{number}]")
            try:
                again = orjson.dumps(entry)
            except orjson.JSONEncodeError:  # it reads 1,024 levels and writes 254
                self._lost(inner, "?", "nested too deeply")
                continue
            self._read_entry_value(inner, entry, again, depth + 1)

    def _read_entry_value(self, place: _Place, entry: object, data: bytes, depth: int) -> None:
        fields = object_of(entry)
        if fields is None:
            self._lost(place, "?", "expected an object")
            return
        request = object_of(fields.get("request")) or {}
        if request.get("method") == "DELETE":
            self._delete(place, text_of(request.get("url")))
            return
        if not isinstance(fields.get("resource"), dict):
            self._lost(place, "?", "an entry without a resource")
            return
        full = text_of(fields.get("fullUrl"))
        base, alias = self._identity(full)
        inner = _Place(place.source, f"{place.path}.resource", base, alias)
        self._read_value(inner, fields["resource"], data, depth)

    def _identity(self, full: str) -> tuple[str, str]:
        """Base address and alias that a fullUrl gives a resource."""
        if full.startswith("urn:"):
            return "", full[:300]
        parts = full.rsplit("/", 2)
        base = parts[0] if len(parts) == 3 and full.startswith(("http://", "https://")) else ""
        return ("" if base in self._settings.own_bases else base), ""

    def _take(self, place: _Place, resource: Json, data: bytes) -> None:
        """Stage one resource, or explain."""
        kind = text_of(resource.get("resourceType"))
        kind = kind if _NAME.match(kind) else "?"
        try:
            if kind == "?":
                raise Unusable("resourceType", "is missing or no name of a type")
            # Bytes without any of these hold no modifier; an escape could spell one.
            if b"modifierExtension" in data or b"implicitRules" in data or b"\\u" in data:
                refuse_modifiers(resource)
            found = extract(resource, replace(self._reading, base=place.base) if place.base else self._reading)
        except Unusable as error:
            self._lost(_Place(place.source, f"{place.path}.{error.where}".rstrip(".")), kind, error.reason)
            return
        fact = encode(found.fact)
        digest = sha256(encode((fact, found.patient, found.encounter)))
        meta = object_of(resource.get("meta")) or {}
        version = text_of(meta.get("versionId") or meta.get("lastUpdated"))[:80]
        needs = found.fact.medication if isinstance(found.fact, DrugFact) else ""
        self._report.read += 1
        self._staging.add(
            Staged(
                self._key(place, kind, resource, digest), place.alias, kind, found.patient, found.encounter, needs,
                version, digest, place.source, place.path, fact,
            )
        )  # fmt: skip

    def _key(self, place: _Place, kind: str, resource: Json, digest: bytes) -> str:
        """The resource's key; one that has no id is known by its alias, or else by its content."""
        name = text_of(resource.get("id"))[:64]
        if not name:
            return place.alias or f"{kind}/#{digest.hex()}"
        return f"{place.base}/{kind}/{name}" if place.base else f"{kind}/{name}"

    def _delete(self, place: _Place, url: str) -> None:
        try:
            key = self._reading.key_of(url, "request.url")
        except Unusable as error:
            self._lost(place, "deletion", str(error))
            return
        self._report.read += 1
        if self._staging.delete(key):
            self._report.used += 1
        else:
            self._report.explain(place.source, place.path, "deletion", "what it deletes is not here")

    def _lost(self, place: _Place, kind: str, reason: str) -> None:
        self._report.read += 1
        self._report.explain(place.source, place.path.rstrip(": "), kind, reason)


def _bundle_problem(shell: object) -> str:
    """Why a Bundle's entries must not be used; empty where they may."""
    fields = object_of(shell) or {}
    if fields.get("resourceType") != "Bundle":
        return "not a Bundle"
    if "implicitRules" in fields:
        return "implicitRules: rules that are not known here may change what it means"
    return ""


def _whole(first: bytes, chunks: Iterator[bytes], largest: int = 16 << 20) -> bytes:
    held = bytearray(first)
    for chunk in chunks:
        held += chunk
        if len(held) > largest:
            raise InvalidInput(f"document: a resource larger than {largest} bytes")
    return bytes(held)


def _chain(first: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks
