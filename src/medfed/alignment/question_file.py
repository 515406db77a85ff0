"""A question as a TOML file that people write, and as lines that people decide on.

Keys are the fields of `SignatureQuestion` or `PatientQuestion`; what is absent keeps its default. This module must
never accept a key that it does not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from medfed.alignment.patients import PatientQuestion
from medfed.alignment.signature import SignatureQuestion
from medfed.errors import InvalidInput, brief
from medfed.input_file import parse_toml, read_input

__all__ = ["describe_question", "load_question"]

_MAX_BYTES: Final = 1 << 20
_MAX_ON_LEDGER: Final = 49_152
Kind = Literal["signatures", "patients"]


def load_question(kind: Kind, path: Path | None) -> bytes:
    """The canonical bytes of the question in a file; without one, that of all defaults.

    Raises:
        InvalidInput: the file is no question of this kind, or longer than the ledger takes.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = parse_toml(read_input(path, _MAX_BYTES, str(path)).decode("utf-8-sig"), str(path))
        except UnicodeDecodeError:
            raise InvalidInput(f"{path}: not UTF-8") from None
    record = SignatureQuestion if kind == "signatures" else PatientQuestion
    for key in document:
        if key not in record.__struct_fields__:
            raise InvalidInput(f"{path}: {key[:100]}: unknown; expected one of {', '.join(record.__struct_fields__)}")
    try:
        encoded = msgspec.convert(document, record).encode()
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {brief(error)}") from None
    if len(encoded) > _MAX_ON_LEDGER:
        raise InvalidInput(f"{path}: a question of {len(encoded)} bytes; at most {_MAX_ON_LEDGER} are allowed")
    record.decode(encoded)
    return encoded


def describe_question(kind: Kind, question: bytes) -> list[str]:
    """What a hospital would compare, in sentences.

    Raises:
        InvalidInput: not a question of this kind.
    """
    if kind == "patients":
        people = PatientQuestion.decode(question)
        issuer = f", issued by {people.system}" if people.system else ""
        return [f"people, known by {' and '.join(people.fields).replace('_', ' ')}{issuer}"]
    asked = SignatureQuestion.decode(question)
    concepts = f"of {len(asked.key_concepts)} concepts" if asked.key_concepts else "of any concept"
    lines = [f"cases, by which features {concepts} they have: {', '.join(asked.kinds)}"]
    lines += [f"codes of {level.system} to level {level.depth}" for level in asked.levels]
    ages = ", ".join(f"{age:g}" for age in asked.age_bands)
    lines.append(f"age in bands from {ages}" if ages else "any age")
    if asked.severity_bands:
        lines.append(f"severity in bands from {', '.join(map(str, asked.severity_bands))}")
    if asked.main_diagnosis:
        lines.append("and the main diagnosis")
    return lines
