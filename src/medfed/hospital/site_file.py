"""`site.toml`: where a hospital's data are, and what it decides without asking a person."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, brief
from medfed.federation.picture_table import load_picture_table
from medfed.federation.plan import Plan
from medfed.federation.tables import Table, read_csv
from medfed.hospital.consent import AlignmentPolicy, ConsentPolicy, ConsentRule, ExchangeRule
from medfed.hospital.site import PrivacyCap
from medfed.input_file import parse_toml, read_input
from medfed.privacy import DELTA_STEP, EPSILON_STEP

__all__ = ["DEFAULT_SITE_FILE", "DataFile", "SiteFile", "load_site_file", "table_for"]

_MAX_BYTES: Final = 1 << 20
T = TypeVar("T")

DEFAULT_SITE_FILE: Final = """\
# What this hospital's agent works with. Paths are relative to this directory.

[data]
# file = "patients.csv"      # a CSV file in UTF-8; its first line names the columns
# columns = ["age", "sex"]   # only for a file without such a line
# images = "pictures"        # or an image set, made by medfed imaging import

[consent]
resume = "auto"              # go on after a pause by itself; "ask" leaves it to a person

# code = ["0123…"]           # digests of a consortium's own model code that may run here (medfed model code)

# The first rule that fits decides; where none fits, a study waits for a person (medfed study approve).
# [[consent.rule]]
# decision = "approve"
# proposers = ["organiser"]
# least_hospitals = 4
# most_rounds = 100

[alignment]                  # comparing what several hospitals have, without showing what they do not share
signatures = "ask"           # or "approve", "decline"; "ask" leaves it to a person (medfed align approve)
patients = "ask"             # the same, but never without a legal basis
# legal_basis = ""           # the law or agreement under which identifiers may be compared
# identifiers = "people.csv" # columns: patient, and the fields that are asked for

# The first rule that fits decides on a request for data that this site has offered; where none fits, a person does
# (medfed exchange decide).
# [[exchange.rule]]
# decision = "approve"
# requesters = ["north"]
# purposes = ["research"]

[library]
# vocabulary = "study.voc"   # the vocabulary of a study that learns from the case library

[privacy]
# epsilon = 8.0              # the most that all studies with noise may together cost one patient
# delta = 1e-4
"""


class DataFile(Record):
    """One table: a CSV file, the names of its columns if it has no header line, and its delimiter; or an image set."""

    file: str = ""
    """With `images` a file that says more of each picture, in place of `cases.csv` in its folder."""
    images: str = ""
    """The folder of an image set, made by `medfed imaging import`."""
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    learning_object: str = ""
    """Only for plans with this learning object; empty fits all."""


class PrivacyFile(Record):
    """What all studies with noise may together cost one patient."""

    epsilon: Annotated[float, Meta(ge=0, le=1000)] = 8.0
    delta: Annotated[float, Meta(ge=0, lt=1)] = 1e-4

    @property
    def cap(self) -> PrivacyCap:
        """In whole numbers, rounded down."""
        return PrivacyCap(int(self.epsilon * EPSILON_STEP), int(self.delta * DELTA_STEP))


class LibraryFile(Record):
    """What a study over the case library needs besides it."""

    vocabulary: str = ""
    """A file made by `medfed records vocabulary`; it must be the one that the plan names."""


class SiteFile(Record):
    """All of `site.toml`."""

    data: tuple[DataFile, ...] = ()
    """The first that fits a plan is its table."""
    consent: ConsentPolicy = ConsentPolicy()
    privacy: PrivacyFile = PrivacyFile()
    library: LibraryFile = LibraryFile()
    identifiers: str = ""
    """A CSV file with the identifiers of patients, for alignments."""
    blobs: str = ""
    """Where blobs are kept, a path or the URL of a store; empty: in the directory beside the ledger that all agents of
    the machine share."""


def load_site_file(path: Path) -> SiteFile:
    """Read and check a `site.toml`; an absent file is an empty one.

    Raises:
        InvalidInput: names the file, the field and what is wrong with it.
    """
    if not path.exists():
        return SiteFile()
    document = _read(path)
    _refuse_unknown(path, "", document, ("data", "consent", "privacy", "alignment", "exchange", "library", "blobs"))
    data = _table(path, "data", document.get("data", {}))
    consent = _table(path, "consent", document.get("consent", {}))
    _refuse_unknown(path, "consent", consent, ("resume", "most_resumes", "rule", "code"))
    rules = tuple(_record(path, f"consent.rule[{i}]", row, ConsentRule) for i, row in _rows(path, consent, "rule"))
    rest = {key: value for key, value in consent.items() if key != "rule"}
    policy = _record(path, "consent", rest, ConsentPolicy)
    blobs = document.get("blobs", "")
    if not isinstance(blobs, str):
        raise InvalidInput(f"{path}: blobs: expected a path or a URL")
    privacy = _record(path, "privacy", _table(path, "privacy", document.get("privacy", {})), PrivacyFile)
    library = _record(path, "library", _table(path, "library", document.get("library", {})), LibraryFile)
    alignment, identifiers = _alignment(path, _table(path, "alignment", document.get("alignment", {})))
    exchange = _exchange_rules(path, _table(path, "exchange", document.get("exchange", {})))
    policy = msgspec.structs.replace(policy, rules=rules, alignment=alignment, exchange=exchange)
    return SiteFile(_data_files(path, data), policy, privacy, library, identifiers, blobs)


def table_for(directory: Path, site: SiteFile, plan: Plan) -> Table:
    """The table that `site.toml` names for a plan.

    Raises:
        InvalidInput: it names none that fits, or the file is not a table.
    """
    for entry in site.data:
        if entry.learning_object in ("", plan.purpose.learning_object):
            if entry.images:
                return load_picture_table(directory / entry.images, directory / entry.file if entry.file else None)
            return read_csv(directory / entry.file, columns=entry.columns or None, delimiter=entry.delimiter)
    wanted = plan.purpose.learning_object
    raise InvalidInput(f"{directory / 'site.toml'}: [data] names no file for learning object {wanted!r}")


def _alignment(path: Path, section: dict[str, Any]) -> tuple[AlignmentPolicy, str]:
    _refuse_unknown(path, "alignment", section, ("signatures", "patients", "legal_basis", "identifiers"))
    identifiers = section.get("identifiers", "")
    if not isinstance(identifiers, str):
        raise InvalidInput(f"{path}: alignment.identifiers: expected a path or a URL")
    rest = {key: value for key, value in section.items() if key != "identifiers"}
    return _record(path, "alignment", rest, AlignmentPolicy), identifiers


def _exchange_rules(path: Path, section: dict[str, Any]) -> tuple[ExchangeRule, ...]:
    _refuse_unknown(path, "exchange", section, ("rule",))
    return tuple(
        _record(path, f"exchange.rule[{i}]", row, ExchangeRule) for i, row in _rows(path, section, "rule")
    )  # fmt: skip


def _data_files(path: Path, data: dict[str, Any]) -> tuple[DataFile, ...]:
    special = [_record(path, f"data.for[{i}]", row, DataFile) for i, row in _rows(path, data, "for")]
    rest = {key: value for key, value in data.items() if key != "for"}
    if "learning_object" in rest:
        raise InvalidInput(f"{path}: data.learning_object: belongs into a [[data.for]] entry")
    found = (*special, _record(path, "data", rest, DataFile)) if rest else tuple(special)
    for entry in found:
        if not entry.file and not entry.images:
            raise InvalidInput(f"{path}: data: expected a file or images")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(read_input(path, _MAX_BYTES, str(path)).decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not UTF-8") from None


def _table(path: Path, field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{path}: {field}: expected a section [{field}]")
    return value  # pyright: ignore[reportUnknownVariableType]


def _rows(path: Path, section: dict[str, Any], name: str) -> list[tuple[int, Any]]:
    rows = section.get(name, [])
    if not isinstance(rows, list):
        raise InvalidInput(f"{path}: {name}: expected entries [[…{name}]]")
    return list(enumerate(rows))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _record(path: Path, field: str, value: Any, kind: type[T]) -> T:
    _refuse_unknown(path, field, _table(path, field, value), kind.__struct_fields__)  # type: ignore[attr-defined]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {field}: {brief(error)}") from None


def _refuse_unknown(path: Path, field: str, section: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in section:
        if key not in known:
            near = difflib.get_close_matches(key[:100], known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(known)}"
            raise InvalidInput(f"{path}: {field + '.' if field else ''}{key[:100]}: unknown{hint}")
