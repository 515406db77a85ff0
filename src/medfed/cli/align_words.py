"""`medfed align words-plan` and `words`: a study in which hospitals agree on a vocabulary, and what it came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medfed.cli.options import PATH, NumberRange, as_json, find_study, ledger_option, open_view
from medfed.cli.output import print_json
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.records.vocabulary import Vocabulary

__all__ = ["words_command", "words_plan_command"]


@click.command("words-plan")
@click.argument("candidates", type=PATH, metavar="VOCABULARY")
@click.argument("output", type=PATH)
@click.option("--hospital", "hospitals", multiple=True, required=True, metavar="NAME", help="Takes part; repeat it.")
@click.option("--title", default="Agreeing on a vocabulary", show_default=True, help="What the study is about.")
@click.option("--gamma", type=NumberRange(0.01, 100), default=1.0, show_default=True, help="Of the Laplace noise.")
@click.option(
    "--least-patients", type=click.IntRange(min=1), default=5, show_default=True,
    help="A hospital is for a concept that it has recorded of so many patients.",
)  # fmt: skip
@click.option(
    "--most-concepts", type=click.IntRange(1, 10_000), default=3, show_default=True,
    help="A patient counts for no more, and pays for no more.",
)  # fmt: skip
@click.option("--dropouts", type=click.IntRange(0, 49), default=0, show_default=True, help="Hospitals that may miss.")
@click.option("--ledger", type=PATH, metavar="FILE", help="Put the list of concepts where its agents find it.")
def words_plan_command(
    candidates: Path, output: Path, hospitals: tuple[str, ...], title: str, gamma: float, least_patients: int,
    most_concepts: int, dropouts: int, ledger: Path | None,
) -> None:  # fmt: skip
    """Draft a plan in which hospitals vote on the concepts of the file VOCABULARY, to the file OUTPUT."""
    from medfed.blobs import DirectoryBlobs
    from medfed.federation.plan_file import format_plan
    from medfed.federation.plan_rules import verify_plan
    from medfed.federation.word_study import concept_list, concepts_of, word_plan
    from medfed.hospital.site_directory import shared_blobs

    words = _vocabulary(candidates)
    made = word_plan(
        words, hospitals, title=title, gamma=gamma, least_patients=least_patients, most_concepts=most_concepts,
        dropouts=dropouts,
    )  # fmt: skip
    verify_plan(made)
    if output.exists():
        raise InvalidInput(f"{output}: exists; a plan is never written over a file")
    output.write_text(format_plan(made), encoding="utf-8")
    if ledger is not None:
        DirectoryBlobs(shared_blobs(ledger)).put(concept_list(words))
    click.echo(
        f"{output}: {len(hospitals)} hospitals vote on {len(concepts_of(words))} concepts, digest {made.digest.hex()}"
    )


@click.command("words")
@click.argument("study_id", metavar="STUDY")
@click.argument("candidates", type=PATH, metavar="VOCABULARY")
@click.argument("output", type=PATH)
@ledger_option
@as_json
def words_command(study_id: str, candidates: Path, output: Path, ledger: Path, as_json: bool) -> None:
    """Write the words of VOCABULARY that the hospitals of STUDY agreed on to the new file OUTPUT."""
    from medfed.blobs import DirectoryBlobs
    from medfed.federation.plan import Words
    from medfed.federation.word_study import agreed_vocabulary, concepts_of
    from medfed.hospital.aggregation import plan_of, recompute_state
    from medfed.hospital.site_directory import shared_blobs
    from medfed.ledger.contracts.studies import study_record

    words = _vocabulary(candidates)
    with open_view(ledger) as view:
        study = find_study(view, study_id)
        plan, record = plan_of(view, study), study_record(view, study)
        if not isinstance(plan.words, Words) or plan.words.candidates != words.digest.hex():
            raise InvalidInput(f"study {study.hex()}: its hospitals do not vote on the words of {candidates}")
        if record is None or record.phase != "completed":
            raise InvalidInput(
                f"study {study.hex()}: {record.phase if record else 'gone'}; it has agreed on nothing yet"
            )
        state = recompute_state(view, study, DirectoryBlobs(shared_blobs(ledger)))
    if state.digest != record.base or state.votes is None:
        raise InvalidInput(f"study {study.hex()}: the blobs here do not give what its hospitals agreed on")
    agreed = agreed_vocabulary(words, state.votes.labels)
    if output.exists():
        raise InvalidInput(f"{output}: exists; a vocabulary is never written over a file")
    output.write_bytes(agreed.encode())
    facts = {"concepts": len(concepts_of(agreed)), "candidates": len(concepts_of(words)), "vocabulary": agreed.digest}
    if as_json:
        print_json(facts)
        return
    click.echo(f"{output}: {facts['concepts']} of {facts['candidates']} concepts, vocabulary {agreed.digest.hex()}")


def _vocabulary(path: Path) -> Vocabulary:
    from medfed.input_file import read_input
    from medfed.records.vocabulary import MAX_VOCABULARY_BYTES, Vocabulary

    return Vocabulary.decode(read_input(path, MAX_VOCABULARY_BYTES, str(path)))
