"""What is worse than usual in the price API: a word for alerts, and a sentence for people."""

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal, get_args

from ibook import metrics
from ibook.price_controls import control_in_force, oldest_in_force
from ibook.pricing import slot_of
from serving.access import KeysFile
from serving.desk import PriceDesk
from serving.slot_prices import is_over

Fault = Literal[
    "listings_unread",
    "nothing_listed",
    "journal",
    "not_kept",
    "scores",
    "keys",
    "no_policy",
    "old_policy",
    "other_slots",
    "ordered",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
HOLD_SECONDS = 0.5
"""So long what was found is good: whoever asks needs no key, and every event is looked at."""


class Watch:
    """Looks when it is asked, though not all the time."""

    def __init__(self, look: Callable[[], dict[Fault, str]], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._monotonic = monotonic
        self._looked_at = -math.inf
        self._found: dict[Fault, str] = {}

    def faults(self) -> dict[Fault, str]:
        """What was worse than usual at most HOLD_SECONDS ago."""
        now = self._monotonic()
        if now - self._looked_at >= HOLD_SECONDS:
            self._looked_at, self._found = now, self._look()
        return self._found


def degraded(desk: PriceDesk, scores_problem: str, keys: KeysFile | None) -> dict[Fault, str]:
    """What is worse than usual, each in a sentence."""
    snapshots, now = desk.snapshots, desk.clock.now()
    ordered = _ordered(desk, now)
    found: dict[Fault, str] = {
        "listings_unread": snapshots.problem,
        "nothing_listed": "No event is listed: there is nothing to price."
        if snapshots.loaded and not snapshots.listings
        else "",
        "journal": desk.journal.problem(),
        "not_kept": snapshots.unkept,
        "scores": scores_problem,
        "keys": keys.problem if keys else "",
        **_of_policies(desk, now),
        "ordered": f"Prices of {ordered} are as ordered: `ibook pricing status`." if ordered else "",
    }
    return {fault: sentence for fault, sentence in found.items() if sentence}


def tell(faults: dict[Fault, str]) -> None:
    """For Prometheus."""
    for fault in FAULTS:
        metrics.PRICES_DEGRADED.labels(fault).set(fault in faults)


def _of_policies(desk: PriceDesk, now: datetime) -> dict[Fault, str]:
    """Of the events on sale alone; empty sentences for what is well."""
    known, rules = desk.snapshots, desk.rules
    on_sale = [event_id for event_id, listing in list(known.listings.items()) if not is_over(listing, now)]
    policies = [policy for event_id in on_sale if (policy := known.policies.get(event_id))]
    oldest = oldest_in_force(slot_of(now, rules.slot_seconds), rules)
    without = len(on_sale) - len(policies)
    old = sum(policy.occurred_at < oldest for policy in policies)
    other = sum(policy.slot_seconds != rules.slot_seconds for policy in policies)
    return {
        "no_policy": f"No price policy for {without} of {len(on_sale)} events: list prices." if without else "",
        "old_policy": f"The price policies of {old} events are too old: prices by rule." if old else "",
        "other_slots": f"The price policies of {other} events are for slots of another length (IBOOK_SLOT_SECONDS): "
        "list prices."
        if other
        else "",
    }


def _ordered(desk: PriceDesk, now: datetime) -> str:
    """Whose prices people have frozen or rolled back, in words; empty when nobody's are."""
    controls = desk.snapshots.controls
    in_force = [key for key in list(controls) if control_in_force(controls, key, now) is controls.get(key)]
    return "all events" if "" in in_force else f"{len(in_force)} events" if in_force else ""
