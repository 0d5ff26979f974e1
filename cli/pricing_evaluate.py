"""`ibook pricing evaluate`: what another policy would have earned, from the log, before anybody sees its prices."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.findings import JsonFile, show, write_json
from cli.settings import DataDir, settings_of_running
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from cli.evaluation import Evaluation
    from ibook.candidates import Candidate
    from ibook.settings import Settings


def evaluate(
    policy: Annotated[Path, typer.Option(help="The candidate's file; docs/experiments.md has examples.")],
    log: Annotated[Path | None, typer.Option(help="A log of others, .parquet or .csv, in place of our own.")] = None,
    since: Annotated[str, typer.Option(help="How far back in our own log: 12h, 7d, or a time.")] = "7d",
    report: Annotated[Path | None, typer.Option(help="Write an HTML page.")] = None,
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(help="Of the rejection that replay does.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """What a candidate would have earned per offer: four estimates with intervals, and whether the log can tell at all.

    Reads quotes and settled rewards from Kafka, or a file; nothing is published and nobody sees its prices.
    """
    from cli.evaluation import as_json, notes, page, sentences, table
    from ibook.candidates import read_candidate

    candidate = read_candidate(policy)
    name = candidate.name or policy.stem
    if log is not None:
        found = _on_file(candidate, name, log, seed)
    else:
        found = _on_our_log(candidate, name, settings_of_running(data_dir), since, seed)
    show(sentences(found), table(found), notes(found))
    write_json(json_file, as_json(found))
    if report is not None:
        report.write_text(page(found), encoding="utf-8")
        print(f"\nThe page is {report}.")


def _on_file(candidate: "Candidate", name: str, path: Path, seed: int) -> "Evaluation":
    from cli.evaluation import evaluation_of
    from ibook.edges.log_file import read_table
    from ibook.foreign_log import decisions_in

    decisions = decisions_in(read_table(path), candidate)
    return evaluation_of(decisions, name=name, source=f"the log {path}", unit="", left_out={}, seed=seed, learned=False)


def _on_our_log(candidate: "Candidate", name: str, settings: "Settings", since: str, seed: int) -> "Evaluation":
    from cli.evaluation import evaluation_of
    from cli.since import since as instant
    from ibook.candidates import LearnedPrices
    from ibook.edges.price_controls import read_prices
    from ibook.edges.slot_log import SlotLog
    from ibook.price_log import decisions_of, price_log
    from ibook.pricing import PricingRules

    now = datetime.now(UTC)
    begin = instant(since, now) or now - timedelta(days=7)
    known = read_prices(settings).known
    with SlotLog(settings, begin) as reader:
        book = reader.read_on()
    grace = timedelta(seconds=settings.quote_grace_seconds)
    prices = price_log(book.settled(now, grace), known.listings, known.policies)
    if not prices.records:
        due = book.next_settled(now, grace)
        when = f" The first slot will be at {due:%Y-%m-%d %H:%M:%S} UTC." if due else ""
        raise ConfigurationError(
            f"No drawn price of that time has settled offers: there is nothing to go by yet.{when}"
        )
    decisions = decisions_of(prices, candidate, PricingRules.of(settings), grace)
    return evaluation_of(
        decisions, name=name, source=f"our log since {begin:%Y-%m-%d %H:%M} UTC", unit="of list price",
        left_out=dict(prices.left_out), seed=seed, learned=isinstance(candidate, LearnedPrices),
    )  # fmt: skip
