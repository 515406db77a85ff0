"""The exception tree. The type says whose fault an error is and what to do about it.

Messages name the thing, what was expected and what was found. They never carry patient data.
"""

from __future__ import annotations

from typing import Final

__all__ = ["InvalidInput", "MedFedError", "Outdated", "Refused", "Tampered", "Unavailable", "brief"]

_LONGEST: Final = 300


class MedFedError(Exception):
    """The root of every error that MedFed raises on purpose. `exit_code` is what the CLI exits with."""

    exit_code: int = 1


def brief(error: Exception) -> str:
    """A library's message, for use in ours: it may quote what it found, which may be as long as the input."""
    text = str(error)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


class InvalidInput(MedFedError):
    """Yours to fix: a file, a field, an argument or a setting is not what was expected."""

    exit_code = 2


class Refused(MedFedError):
    """A rule said no. `code` is stable and machine-readable; the message is a sentence for people."""

    exit_code = 3

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(MedFedError):
    """Not now: something is locked, missing for the moment or out of reach. Trying again may help."""

    exit_code = 4


class Outdated(Unavailable):
    """The ledger goes on by rules that this program does not have: only a newer program helps."""


class Tampered(MedFedError):
    """Stop: bytes that must never change have changed, or a history contradicts one that was seen before."""

    exit_code = 5
