"""`ibook pricing report` and `experiment`: do learned prices earn more, and who decides how many slots."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.findings import JsonFile, show, write_json
from cli.settings import DataDir, person, settings_of_running
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from cli.pricing_report import Standing
    from ibook.messages import PriceExperiment
    from ibook.settings import Settings

Why = Annotated[str, typer.Option("--why", help="For those who look at it later.")]


def report(
    since: Annotated[str, typer.Option(help="How far back: 30m, 24h, 7d, or a time.")] = "7d",
    within: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="How exactly the uplift is to be known, for the slots needed.")
    ] = 0.05,
    json_file: JsonFile = None,
    data_dir: DataDir = None,
) -> None:
    """What each arm of the experiment earned per offer against list price; its intervals hold while watched.

    Reads quotes and settled rewards from Kafka; nothing is published.
    """
    from cli.pricing_report import as_json, notes, sentences, table

    found = _standing(settings_of_running(data_dir), since, within)
    show(sentences(found), table(found) if found.slots else None, notes(found))
    write_json(json_file, as_json(found))


def experiment(
    list_price: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the slots at list price.")] = None,
    rules: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the slots at the rule's price.")] = None,
    end: Annotated[str, typer.Option(help="End an arm, `rules` or `bandit`: its slots show list price.")] = "",
    why: Why = "",
    data_dir: DataDir = None,
) -> None:
    """Which arm decides how many slots; with shares, another experiment, whose figures begin anew.

    An order holds for slots that begin two seconds later. New shares also bring back an arm that was ended.
    """
    from cli.pricing_report import shares_sentence
    from ibook.edges.price_experiments import publish_experiment, read_experiment
    from ibook.experiments import shares_of, standing_at

    settings, now = settings_of_running(data_dir), datetime.now(UTC)
    last = read_experiment(settings).experiment
    if list_price is None and rules is None and not end:
        for sentence in standing(settings):
            print(sentence)
        return
    if end and (list_price is not None or rules is not None):
        raise ConfigurationError("Either an arm is ended or shares are set: choose one.")
    order = _ended(settings, last, end, now, why) if end else _shared(settings, last, (list_price, rules), now, why)
    publish_experiment(settings, order)
    print(shares_sentence(standing_at(order, shares_of(settings), order.begins_at)))


def standing(settings: "Settings") -> Iterator[str]:
    """Sentences: which arm decides how many slots, and which were ended. Raises BrokerUnavailable."""
    from cli.pricing_report import ended_sentences, shares_sentence
    from ibook.edges.price_experiments import read_experiment
    from ibook.experiments import shares_of, standing_at

    last = read_experiment(settings).experiment
    yield shares_sentence(standing_at(last, shares_of(settings), datetime.now(UTC)))
    yield from ended_sentences(last.ended if last else ())


def _standing(settings: "Settings", since: str, within: float) -> "Standing":
    from cli.pricing_report import standing_of
    from cli.since import since as instant
    from ibook.edges.lag import read_until
    from ibook.edges.price_experiments import read_experiment
    from ibook.edges.slot_log import SlotLog
    from ibook.experiments import shares_of
    from ibook.topics import QUOTE_JOURNAL

    order = read_experiment(settings).experiment
    begin = instant(since, datetime.now(UTC)) or datetime.now(UTC) - timedelta(days=7)
    now = datetime.now(UTC)
    whole = read_until(settings, "journal-to-rewards", QUOTE_JOURNAL, now)
    with SlotLog(settings, begin, shown=True) as log:
        book = log.read_on()
    return standing_of(
        book, order, shares_of(settings), since=begin, now=now, whole=whole,
        grace=timedelta(seconds=settings.quote_grace_seconds), within=within,
    )  # fmt: skip


def _ended(
    settings: "Settings", last: "PriceExperiment | None", arm: str, now: datetime, why: str
) -> "PriceExperiment":
    from ibook.experiments import BANDIT, RULES, ending, shares_of

    found = next((each for each in (RULES, BANDIT) if each == arm), None)
    if found is None:
        raise ConfigurationError(f"{arm!r} can't be ended: `rules` and `bandit` can.")
    return ending(last, shares_of(settings), found, now=now, by=person(), why=why or f"ended by {person()}")


def _shared(
    settings: "Settings", last: "PriceExperiment | None", asked: tuple[float | None, float | None], now: datetime,
    why: str,
) -> "PriceExperiment":  # fmt: skip
    from ibook.experiments import exact_shares, ordered, shares_of

    standing = shares_of(settings)
    present = last.shares if last and not last.ended else standing
    list_price, rules = (
        before if share is None else share
        for share, before in zip(asked, (present.list_price, present.rules), strict=True)
    )
    return ordered(last, standing, exact_shares(list_price, rules), now=now, by=person(), why=why)
