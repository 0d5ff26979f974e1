"""What prices that learn earn: the same visitors under every policy, over many worlds.

Revenue is what visitors paid, at real scale: an event of 4,000 to 40,000 seats gets some thousand offers over 20 to 120
days. Demand that stands still is measured at events eight times as large, and at smaller and larger ones. Intervals
are bootstraps over worlds, 95 %. Shares are of the gain that an oracle has over list price, who knows each day's demand
and everybody who will come, and keeps the same floor and cap.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, NamedTuple, Protocol

import numpy as np

from bench.pricing_attack import ATTACKS, BOUNDS, SHARES, Attack, moved
from bench.pricing_crowd import MENU, Crowd, Scenario, crowds
from bench.pricing_estimates import Runs, percent, share_of_gain, uplift
from bench.pricing_experience import Experiences
from bench.pricing_play import Played, best_fixed, list_price, oracle, play, play_fixed
from bench.pricing_sellers import ByRule, Learner, PlainThompson, epsilon_greedy, upper_confidence
from ibook.pricing import PricingRules

MULTIPLIERS = PricingRules().multipliers
FIXED = {"list price": list_price, "best fixed": best_fixed, "oracle": oracle}
SELLERS: Mapping[str, Callable[[Crowd], Any]] = {
    "by rule": ByRule,
    "plain Thompson": lambda crowd: PlainThompson(crowd, MULTIPLIERS),
    "epsilon-greedy": lambda crowd: epsilon_greedy(crowd, MULTIPLIERS),
    "UCB": lambda crowd: upper_confidence(crowd, MULTIPLIERS),
}
POINTS = 40
"""Of the regret curve, in equal shares of an event's offers."""
ATTACKED_SEEDS = 5
FEW_EVENTS = 2
"""Of each world, where demand is shifted or flat, or sales take another course."""
LONG_SALE = 8.0
"""Where demand stands still, events are so many times larger: after burn-in the same is asked for again and again."""
SIZES = (2.0, LONG_SALE, 32.0)
"""Events where demand stands still are played at each: how much is reached depends on how much is learned from."""


def measure(*, seeds: int, n_events: int, first_seed: int = 0, processes: int = 1) -> dict[str, Any]:
    """All figures, ready for JSON; worlds are shared out among so many processes."""
    worlds = range(first_seed, first_seed + seeds)
    with _shared_out(processes) as share_out:
        default, mean = _run(share_out, worlds, Play("default", n_events, sellers=tuple(SELLERS)))
        others = dict[Scenario, Runs]()
        for name in ("shift", "flat", "even", "fading"):
            others[name] = _run(share_out, worlds, Play(name, min(n_events, FEW_EVENTS)))[0]
        by_size = {size: _run(share_out, worlds, Play("stationary", 1, seats=size)) for size in SIZES}
        others["stationary"], long = by_size[LONG_SALE]
        attacked = under_attack(share_out, worlds[:ATTACKED_SEEDS])
    return {
        "worlds": seeds, "first_seed": first_seed, "events": seeds * n_events, "offers_per_event": mean.offers,
        "days_on_sale": mean.days, "offers_per_event_stationary": long.offers,
        "uplift": uplift(default, "ibook"), "share_of_oracle_gain": share_of_gain(default, "ibook"),
        "oracle_uplift": uplift(default, "oracle"), "by_policy": {name: _policy(default, name) for name in default},
        "regret": {name: _regret(default, name) for name in default if name not in ("oracle", "list price")},
        "scenarios": {name: _scenario(runs) for name, runs in others.items()},
        "by_traffic": [_after_burn_in(*by_size[size]) for size in SIZES], "under_attack": attacked,
    }  # fmt: skip


class ShareOut(Protocol):
    """`map`, perhaps over processes."""

    def __call__(self, function: Callable[[int], Any], seeds: Sequence[int], /) -> Iterable[Any]:
        """What the function makes of each seed, in order."""
        ...


@contextmanager
def _shared_out(processes: int) -> Iterator[ShareOut]:
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield pool.map


class Size(NamedTuple):
    """Of an event, or of several on average."""

    offers: float
    offers_per_type: float
    days: float


@dataclass(frozen=True)
class Play:
    """What is played in each world."""

    scenario: Scenario
    n_events: int
    sellers: tuple[str, ...] = ()
    seats: float = 1.0

    def __call__(self, seed: int) -> tuple[dict[str, list[Played]], list[Size]]:
        """Every policy on the same visitors, and the size of each event.

        Ours knows nothing when a world's first event opens, and what earlier ones have taught when the others do.
        """
        played: dict[str, list[Played]] = {name: [] for name in (*FIXED, "ibook", *self.sellers)}
        sizes, shop = [], Experiences()
        for crowd in crowds(seed, self.n_events, seats=self.seats, scenario=self.scenario):
            days = (crowd.event.starts_us - crowd.event.on_sale_us) / 86_400e6
            sizes.append(Size(crowd.n, crowd.n / len(crowd.listing.ticket_types), days))
            for name, menu in FIXED.items():
                played[name].append(play_fixed(crowd, menu(crowd)))
            played["ibook"].append(play(crowd, Learner(crowd, shop)))
            for name in self.sellers:
                played[name].append(play(crowd, SELLERS[name](crowd)))
        return played, sizes


def _run(share_out: ShareOut, worlds: Sequence[int], what: Play) -> tuple[Runs, Size]:
    """What each policy came to, and the size of an event on average."""
    played, sizes = zip(*share_out(what, worlds), strict=True)
    print(f"{what.scenario}: {len(worlds)} worlds are played", file=sys.stderr)
    runs = {name: [world[name] for world in played] for name in played[0]}
    return runs, Size(*(float(one) for one in np.array([each for world in sizes for each in world]).mean(axis=0)))


def _policy(runs: Runs, name: str) -> dict[str, Any]:
    played = [one for events in runs[name] for one in events]
    return {
        "uplift": uplift(runs, name), "share_of_oracle_gain": share_of_gain(runs, name),
        "sold_out": sum(one.sold_out for one in played), "empty_seats": sum(one.unsold for one in played),
    }  # fmt: skip


def _scenario(runs: Runs) -> dict[str, Any]:
    """Of ours; the second half is after burn-in, or after the shift."""
    return {
        "uplift": uplift(runs, "ibook"), "oracle_uplift": uplift(runs, "oracle"),
        "share_of_oracle_gain": share_of_gain(runs, "ibook"), "uplift_late": uplift(runs, "ibook", late=True),
        "share_of_oracle_gain_late": share_of_gain(runs, "ibook", late=True),
    }  # fmt: skip


def _after_burn_in(runs: Runs, size: Size) -> dict[str, Any]:
    """Of ours, in the second half, where demand stands still."""
    return {
        "offers_per_ticket_type": round(size.offers_per_type), "uplift": uplift(runs, "ibook", late=True),
        "oracle_uplift": uplift(runs, "oracle", late=True),
        "share_of_oracle_gain": share_of_gain(runs, "ibook", late=True),
    }  # fmt: skip


def _regret(runs: Runs, name: str) -> list[float]:
    """What the oracle earned more, so far, as a share of all revenue at list price; at equal shares of the offers."""
    total = sum(one.revenue.sum() for events in runs["list price"] for one in events)
    lost = np.zeros(POINTS + 1)
    for ours, best in zip(runs[name], runs["oracle"], strict=True):
        for one, other in zip(ours, best, strict=True):
            at = np.linspace(0, len(one.revenue), POINTS + 1).astype(int)
            lost += np.concatenate([[0.0], np.cumsum(other.revenue - one.revenue)])[at]
    return [round(float(each), 5) for each in lost / total]


def under_attack(share_out: ShareOut, worlds: Sequence[int]) -> dict[str, dict[str, dict[str, float]]]:
    """Attack -> share of the offers -> how far it moved the mean price, in list prices; one event per world."""
    every = list(share_out(_moves, worlds))
    return {
        attack: {
            f"{share:.0%}": {
                name: round(float(np.mean([one[name][attack][share] for one in every])), 4) for name in every[0]
            } | {"bound": BOUNDS[share]}
            for share in SHARES
        }
        for attack in ATTACKS
    }  # fmt: skip


def _moves(seed: int) -> dict[str, dict[Attack, dict[float, float]]]:
    [crowd] = crowds(seed, 1, seats=1.0, scenario="stationary")
    return {
        "ibook": moved(crowd, Learner, defended=True),
        "undefended": moved(crowd, Learner, defended=False),
        "plain Thompson": moved(crowd, SELLERS["plain Thompson"], defended=False),
    }


def say(figures: Mapping[str, Any]) -> None:
    """The figures as a table."""
    import typer

    typer.echo(
        f"{figures['events']} events of {figures['worlds']} worlds from seed {figures['first_seed']}, "
        f"{figures['offers_per_event']:.0f} offers an event "
        f"over {figures['days_on_sale']:.0f} days on average, "
        f"{figures['offers_per_event_stationary']:.0f} offers where demand stands still; "
        f"prices from {MENU[0]} to {MENU[-1]} of list."
    )
    for name, found in figures["by_policy"].items():
        gain, part = found["uplift"], found["share_of_oracle_gain"]
        typer.echo(
            f"  {name:15} {percent(gain['mean'])} ({percent(gain['low'])} to {percent(gain['high'])}) over list price, "
            f"{percent(part['mean'])} of the oracle's gain, {found['sold_out']} sold out, "
            f"{found['empty_seats']} empty seats"
        )
    for name, found in figures["scenarios"].items():
        typer.echo(
            f"  {name}: {percent(found['uplift']['mean'])}, oracle {percent(found['oracle_uplift']['mean'])}, "
            f"{percent(found['share_of_oracle_gain']['mean'])} of its gain; "
            f"second half {percent(found['uplift_late']['mean'])}, "
            f"{percent(found['share_of_oracle_gain_late']['mean'])} of the oracle's gain"
        )
    for found in figures["by_traffic"]:
        part = found["share_of_oracle_gain"]
        typer.echo(
            f"  stationary, {found['offers_per_ticket_type']} offers a ticket type: second half "
            f"{percent(found['uplift']['mean'])}, oracle {percent(found['oracle_uplift']['mean'])}, "
            f"{percent(part['mean'])} ({percent(part['low'])} to {percent(part['high'])}) of its gain"
        )
    for attack, shares in figures["under_attack"].items():
        for share, by in shares.items():
            typer.echo(
                f"  {attack} {share}: price moved {by['ibook']:+.2%} of list (bound {by['bound']:.0%}), "
                f"undefended {by['undefended']:+.2%}, plain Thompson {by['plain Thompson']:+.2%}"
            )
