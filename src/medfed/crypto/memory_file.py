"""A secret for a program that takes it only from a file: the file is in memory, and no disk ever holds it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from medfed.errors import Unavailable

__all__ = ["MemoryFile"]


class MemoryFile:
    """A file without a name, open until `close`. This process reads it at `path`; a child, if it inherits `descriptor`.

    See memfd_create(2).
    """

    def __init__(self, data: bytes) -> None:
        """Raises Unavailable where the system has no such files: anything but Linux."""
        try:
            self.descriptor = os.memfd_create("medfed")
            with os.fdopen(os.dup(self.descriptor), "wb") as file:
                file.write(data)
        except (AttributeError, OSError) as error:
            raise Unavailable(f"a file in memory cannot be made ({type(error).__name__}); this needs Linux") from None

    @property
    def path(self) -> str:
        """Where it can be opened, as often as one likes, for the same number in a child."""
        return f"/proc/self/fd/{self.descriptor}"

    def close(self) -> None:
        """Let go of it; once more does nothing, since the number may be another file's by then."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
