"""What prices that learn earn: the same visitors under every policy, over many worlds.

Revenue is what visitors paid, at real scale: an event of 4,000 to 40,000 seats gets some thousand offers over 20 to 120
days. Demand that stands still is measured at events eight times as large. Intervals are bootstraps over worlds, 95 %.
Shares are of the gain that an oracle has over list price, who knows each day's demand and everybody who will come, and
keeps the same floor and cap.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np

from bench.pricing_attack import ATTACKS, BOUNDS, SHARES, Attack, moved
from bench.pricing_crowd import MENU, Crowd, Floats, Scenario, crowds
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
BOOTSTRAPS = 2000
POINTS = 40
"""Of the regret curve, in equal shares of an event's offers."""
ATTACKED_SEEDS = 5
FEW_EVENTS = 2
"""Of each world, where demand is shifted or flat, or sales take another course."""
LONG_SALE = 8.0
"""Where demand stands still, events are so many times larger: after burn-in the same is asked for again and again."""

Estimate = dict[str, float | None]
"""`mean`, `low` and `high`; None where there was nothing to be a share of."""
Runs = dict[str, list[list[Played]]]
"""Policy -> world -> what each of its events came to."""


def measure(*, seeds: int, n_events: int, first_seed: int = 0, processes: int = 1) -> dict[str, Any]:
    """All figures, ready for JSON; worlds are shared out among so many processes."""
    worlds = range(first_seed, first_seed + seeds)
    with _shared_out(processes) as share_out:
        default, offers, horizon = _run(share_out, worlds, Play("default", n_events, sellers=tuple(SELLERS)))
        others, long = dict[Scenario, Runs](), 0.0
        for name in ("shift", "flat", "even", "fading"):
            others[name] = _run(share_out, worlds, Play(name, min(n_events, FEW_EVENTS)))[0]
        others["stationary"], long, _ = _run(share_out, worlds, Play("stationary", 1, seats=LONG_SALE))
        attacked = under_attack(share_out, worlds[:ATTACKED_SEEDS])
    return {
        "worlds": seeds, "first_seed": first_seed, "events": seeds * n_events, "offers_per_event": offers,
        "days_on_sale": horizon, "offers_per_event_stationary": long,
        "uplift": uplift(default, "ibook"), "share_of_oracle_gain": share_of_gain(default, "ibook"),
        "oracle_uplift": uplift(default, "oracle"), "by_policy": {name: _policy(default, name) for name in default},
        "regret": {name: _regret(default, name) for name in default if name not in ("oracle", "list price")},
        "scenarios": {name: _scenario(runs) for name, runs in others.items()},
        "under_attack": attacked,
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


@dataclass(frozen=True)
class Play:
    """What is played in each world."""

    scenario: Scenario
    n_events: int
    sellers: tuple[str, ...] = ()
    seats: float = 1.0

    def __call__(self, seed: int) -> tuple[dict[str, list[Played]], list[tuple[int, float]]]:
        """Every policy on the same visitors; and of each event the offers, and the days on sale.

        Ours knows nothing when a world's first event opens, and what earlier ones have taught when the others do.
        """
        played: dict[str, list[Played]] = {name: [] for name in (*FIXED, "ibook", *self.sellers)}
        sizes, shop = [], Experiences()
        for crowd in crowds(seed, self.n_events, seats=self.seats, scenario=self.scenario):
            sizes.append((crowd.n, (crowd.event.starts_us - crowd.event.on_sale_us) / 86_400e6))
            for name, menu in FIXED.items():
                played[name].append(play_fixed(crowd, menu(crowd)))
            played["ibook"].append(play(crowd, Learner(crowd, shop)))
            for name in self.sellers:
                played[name].append(play(crowd, SELLERS[name](crowd)))
        return played, sizes


def _run(share_out: ShareOut, worlds: Sequence[int], what: Play) -> tuple[Runs, float, float]:
    """What each policy came to, with the offers and the days on sale of an event on average."""
    played, sizes = zip(*share_out(what, worlds), strict=True)
    print(f"{what.scenario}: {len(worlds)} worlds are played", file=sys.stderr)
    runs = {name: [world[name] for world in played] for name in played[0]}
    offers, days = np.array([each for world in sizes for each in world]).mean(axis=0)
    return runs, float(offers), float(days)


# ------------------------------------------------------------------------------------------------------------ estimates
def uplift(runs: Runs, name: str, *, late: bool = False) -> Estimate:
    """Revenue over that at list price, less 1."""
    ours, at_list = (_revenue(runs, each, late=late) for each in (name, "list price"))
    return interval(lambda drawn: _ratio(ours[drawn].sum() - at_list[drawn].sum(), at_list[drawn].sum()), len(ours))


def share_of_gain(runs: Runs, name: str, *, late: bool = False) -> Estimate:
    """Gain over list price as a share of the oracle's."""
    ours, at_list, best = (_revenue(runs, each, late=late) for each in (name, "list price", "oracle"))
    return interval(lambda drawn: _ratio((ours - at_list)[drawn].sum(), (best - at_list)[drawn].sum()), len(ours))


def _ratio(part: float, of: float) -> float:
    """NaN where there is nothing to be a share of."""
    return float(part / of) if of > 0 else float("nan")


def interval(estimate: Callable[[Any], float], n: int) -> Estimate:
    """An estimate over all worlds and its 95 % bootstrap interval; Efron & Tibshirani (1993), section 13.3."""
    rng = np.random.default_rng(0)
    drawn = np.array([estimate(rng.integers(0, n, n)) for _ in range(BOOTSTRAPS)])
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (float("nan"),) * 2
    mean = estimate(np.arange(n))
    return {"mean": _rounded(mean), "low": _rounded(float(low)), "high": _rounded(float(high))}


def _rounded(value: float) -> float | None:
    """None is what JSON has for nothing to be a share of."""
    return None if np.isnan(value) else round(value, 4)


def percent(value: float | None) -> str:
    """A change in words.

    >>> percent(0.0123), percent(None)
    ('+1.23 %', '–')
    """
    return "–" if value is None else f"{value:+.2%}".replace("%", " %")


def _revenue(runs: Runs, name: str, *, late: bool) -> Floats:
    """Per world. `late` is the second half of the offers of events that do not sell out at list price."""
    totals = []
    for events, at_list in zip(runs[name], runs["list price"], strict=True):
        kept = [one for one, listed in zip(events, at_list, strict=True) if not (late and listed.sold_out)]
        totals.append(sum(float(one.revenue[len(one.revenue) // 2 if late else 0 :].sum()) for one in kept))
    return np.array(totals)


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
    for attack, shares in figures["under_attack"].items():
        for share, by in shares.items():
            typer.echo(
                f"  {attack} {share}: price moved {by['ibook']:+.2%} of list (bound {by['bound']:.0%}), "
                f"undefended {by['undefended']:+.2%}, plain Thompson {by['plain Thompson']:+.2%}"
            )
