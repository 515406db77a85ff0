"""A progress line for people who wait: on a terminal or in a notebook, never in a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["Progress", "shown_progress"]

Progress = Callable[[int, int, str], None]
"""Called with rounds over, rounds in all, and the study's phase."""


@contextmanager
def shown_progress(wanted: bool | None) -> Generator[Progress | None]:
    """A progress bar on standard error; None decides by whether anybody is watching."""
    if wanted is False or (wanted is None and not _is_watched()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("proposed", total=None)

        def update(done: int, total: int, phase: str) -> None:
            bar.update(task, completed=done, total=total, description=phase)

        yield update


def _is_watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
