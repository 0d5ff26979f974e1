"""`ibook pricing`: what prices follow, and how people take them over: freeze, roll back, let them learn again."""

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli import pricing_evaluate, pricing_experiment
from cli.settings import DataDir, person, settings_of_running
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from ibook.edges.price_controls import PriceState
    from ibook.messages import EventListed, PriceControlled, PricePolicy
    from ibook.pricing import PricingRules
    from ibook.settings import Settings

app = typer.Typer(
    help="Prices: what they follow and what they earn; freeze them, roll them back, experiment.", no_args_is_help=True
)
app.command()(pricing_experiment.report)
app.command()(pricing_experiment.experiment)
app.command()(pricing_evaluate.evaluate)

Event = Annotated[str, typer.Argument(metavar="[EVENT]", help="An event's id [default: all events].")]
Why = Annotated[str, typer.Option("--why", help="For those who look at it later.")]
Minutes = Annotated[float | None, typer.Option("--minutes", min=0.1, help="It ends by itself after so long.")]


@app.command()
def freeze(event: Event = "", why: Why = "", minutes: Minutes = None, data_dir: DataDir = None) -> None:
    """List prices from now on, until `unfreeze`, in every price API within a second. Quotes given before hold."""
    from ibook.edges.price_controls import check_listed, control, publish_controls, read_prices

    settings, now = settings_of_running(data_dir), datetime.now(UTC)
    check_listed(read_prices(settings), event)
    until = _until(now, minutes)
    publish_controls(settings, [control(event, now=now, by=person(), why=why, frozen=True, until=until)])
    print(f"Prices of {_named(event)} are frozen at list price{_ending(until)}.")


@app.command()
def unfreeze(event: Event = "", why: Why = "", data_dir: DataDir = None) -> None:
    """Let prices be learned again: ends a freeze and a rollback. Without an event, those of all events and of each."""
    from ibook.edges.price_controls import control, publish_controls, read_prices
    from ibook.price_controls import ALL_EVENTS, is_active

    settings, now = settings_of_running(data_dir), datetime.now(UTC)
    known = read_prices(settings).known.controls
    ended = [key for key, each in known.items() if is_active(each, now) and event in (ALL_EVENTS, key)]
    publish_controls(settings, [control(key, now=now, by=person(), why=why) for key in ended])
    print(f"Prices of {_named(event)} are learned again." if ended else f"Nothing was ordered of {_named(event)}.")
    if event and ALL_EVENTS in known and is_active(known[ALL_EVENTS], now):
        print("They still follow what is ordered of all events.")


@app.command()
def rollback(
    event: Event = "",
    to: Annotated[int | None, typer.Option("--to", help="A version of the event's policy.")] = None,
    ago: Annotated[float | None, typer.Option("--ago", min=0, help="To the policies of so many minutes ago.")] = None,
    why: Why = "",
    minutes: Minutes = None,
    data_dir: DataDir = None,
) -> None:
    """Go back to an earlier policy, the one before the newest by default, and stay there until `unfreeze`.

    The learner goes on learning and publishing; prices do not follow it meanwhile. Earlier policies are kept for six
    hours at least.
    """
    from ibook.edges.price_controls import check_listed, control, publish_controls, read_prices

    if to is not None and not event:
        raise ConfigurationError("A version belongs to an event: name it, or say --ago for all events.")
    settings, now = settings_of_running(data_dir), datetime.now(UTC)
    state = read_prices(settings)
    check_listed(state, event)
    policies = _earlier(state, event, to, ago, now)
    until = _until(now, minutes)
    controls = [control(each.event_id, now=now, by=person(), why=why, policy=each, until=until) for each in policies]
    publish_controls(settings, controls)
    for policy in policies:
        print(f"{policy.event_id} follows policy {policy.version} of {policy.occurred_at:%Y-%m-%d %H:%M:%S}"
              f"{_ending(until)}.")  # fmt: skip


@app.command()
def status(data_dir: DataDir = None) -> None:
    """Each event's newest policy, its age, and what people ordered; and who decides how many slots."""
    from rich.console import Console

    from ibook.edges.price_controls import read_prices

    settings = settings_of_running(data_dir)
    Console(width=None if sys.stdout.isatty() else 200).print(_table(read_prices(settings), settings))
    print()
    for sentence in pricing_experiment.standing(settings):
        print(sentence)


def _earlier(state: "PriceState", event: str, to: int | None, ago: float | None, now: datetime) -> "list[PricePolicy]":
    from ibook.edges.price_controls import earlier

    before = None if ago is None else now - timedelta(minutes=ago)
    events = [event] if event else [key for key in sorted(state.history) if key in state.known.listings]
    found = [earlier(state.history.get(each, []), version=to, before=before) for each in events]
    policies = [policy for policy in found if policy is not None]
    if not policies:
        there = ", ".join(str(policy.version) for policy in state.history.get(event, [])[-10:])
        raise ConfigurationError(
            f"There is no such earlier policy of {_named(event)}" + (f"; there are {there}." if there else ".")
        )
    return policies


def _table(state: "PriceState", settings: "Settings") -> "Table":
    from rich.table import Table

    from ibook.pricing import PricingRules

    now, rules = datetime.now(UTC), PricingRules.of(settings)
    table = Table("event", "policy", "age", "prices", "by", "why", box=None)
    for _, listing in sorted(state.known.listings.items()):
        table.add_row(*_row(state, listing, now, rules))
    return table


def _row(state: "PriceState", listing: "EventListed", now: datetime, rules: "PricingRules") -> tuple[str, ...]:
    from ibook.price_controls import ALL_EVENTS, control_in_force, too_old
    from ibook.pricing import slot_of

    policy = state.known.policies.get(listing.event_id)
    version, age = (str(policy.version), f"{(now - policy.occurred_at).total_seconds():.0f} s") if policy else ("", "")
    if listing.starts_at <= now:
        return listing.event_id, version, age, "nothing: it has begun", "", ""
    control = control_in_force(state.known.controls, listing.event_id, now)
    stale = too_old(policy, slot_of(now, rules.slot_seconds), rules)
    follows = _follows(control, stale=stale, learned=policy is not None)
    if control is not None and control is state.known.controls.get(ALL_EVENTS):
        follows += " (all events)"
    by, why = (control.by, control.why) if control else ("", "")
    return listing.event_id, version, age, follows, by, why


def _follows(control: "PriceControlled | None", *, stale: bool, learned: bool) -> str:
    if control is not None:
        what = "frozen" if control.policy is None else f"rolled back to {control.policy.version}"
        return what + _ending(control.until)
    if not learned:
        return "list price"
    return "by rule: the policy is too old" if stale else "learned"


def _until(now: datetime, minutes: float | None) -> datetime | None:
    return None if minutes is None else now + timedelta(minutes=minutes)


def _ending(until: datetime | None) -> str:
    return f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""


def _named(event: str) -> str:
    return event or "all events"
