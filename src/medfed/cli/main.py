"""`medfed`: the command line. Command modules import what is heavy inside their commands, so that `--help` is quick."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from medfed import __version__
from medfed.cli.output import fail
from medfed.errors import InvalidInput, MedFedError, Unavailable

__all__ = ["cli", "main"]

_COMMANDS: Final = {
    "agent": "Run a hospital's agent.",
    "align": "Find what several hospitals have, without showing the rest.",
    "blind-test": "Ask a service about a case hidden among diagnosed ones.",
    "completion": "Print shell completion.",
    "consortium": "Found a consortium and look at it.",
    "decide": "Write down what a doctor decided on an answer.",
    "demo": "Four hospitals train a model together, on real data.",
    "diagnose": "Find similar cases and ask the network.",
    "exchange": "Ask another hospital for data, on its terms.",
    "follow-up": "Write down how it went; a good course makes a new case.",
    "imaging": "Import pictures with findings and check them.",
    "keys": "Create and look at a site's keys.",
    "ledger": "Verify, read and move a ledger.",
    "model": "Use a released model.",
    "node": "Run a hospital's node in a network of hospitals.",
    "pate": "Plan a labelling study: teachers vote with noise.",
    "records": "Import records and look after the case library.",
    "rewards": "Show the points that hospitals have earned.",
    "simulate": "Run a study in this process, one hospital a table.",
    "study": "Propose, decide on and follow studies.",
    "trace": "Go from an answer to its decision, model and rounds.",
}
_MODULES: Final = {"blind-test": "blind_test", "decide": "decisions", "follow-up": "decisions", "trace": "decisions"}
"""Where a command's module is not called like the command."""


class _LazyGroup(click.Group):
    """Knows its commands' names and summaries; imports a command's module only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"medfed.cli.{_MODULES.get(cmd_name, cmd_name)}")
        return getattr(module, cmd_name.replace("-", "_"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="medfed")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, on standard error.")
@click.option(
    "--log-json", is_flag=True, envvar="MEDFED_LOG_JSON", help="The same, one JSON object a line (MEDFED_LOG_JSON=1)."
)
def cli(verbose: bool, log_json: bool) -> None:
    """Hospitals train diagnosis models together, without a server and without giving up a record.

    Exit codes: 2 your input is wrong, 3 a rule said no, 4 not now, 5 tampered.
    """
    if verbose or log_json:
        _start_logging(as_json=log_json)


def main(arguments: list[str] | None = None) -> None:
    """The program's entry: errors become one clear line and an exit code."""
    # The tables are small: a thread for each core costs more than it gives, and several agents share a machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        result: Any = cli.main(args=arguments, prog_name="medfed", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except MedFedError as error:
        code = fail(error)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("medfed: interrupted", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 141
    except UnicodeEncodeError:
        code = fail(InvalidInput("an argument is not text in UTF-8"))
    except OSError as error:
        code = fail(Unavailable(f"{error.filename or 'input or output'}: {error.strerror or error}"))
    sys.exit(code)


def _start_logging(*, as_json: bool) -> None:
    import logging

    known = set(vars(logging.makeLogRecord({})))

    def fields(record: logging.LogRecord) -> dict[str, str]:
        return {key: str(value) for key, value in vars(record).items() if key not in known and key not in _LINE}

    class Lines(logging.Formatter):
        """The line with its structured fields behind it."""

        def format(self, record: logging.LogRecord) -> str:
            extra = " ".join(f"{key}={value}" for key, value in fields(record).items())
            return f"{super().format(record)} {extra}".rstrip()

    class JsonLines(logging.Formatter):
        """One object a line, for whatever collects logs."""

        def format(self, record: logging.LogRecord) -> str:
            import json
            from datetime import UTC, datetime

            time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            line = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
            if record.exc_info:
                line["exception"] = self.formatException(record.exc_info)
            return json.dumps(fields(record) | line)

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else Lines("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


_LINE: Final = ("message", "asctime", "taskName")
