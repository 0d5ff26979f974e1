"""State to features at an instant: the only place a feature is declared or computed.

The verdict worker, training, backfill and Feast's on-demand views all call `vector` or `entity_features`, so a value
in training is the value that was served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.entities import EntityName
from ibook.messages import PurchaseRequested
from ibook.windows import DISTINCT_CAP, HOPS_S, SECOND, Layout, Measure, WindowState

Kind = Literal["count", "sum", "mean", "max", "distinct", "ratio", "first_age", "last_age"]
NAN = float("nan")
_NAMES = {60: "1m", 300: "5m", 600: "10m", 3600: "1h", 86400: "24h"}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One declaration, which gives one feature per window (ages have none).

    `kinds` are the facts it looks at; a ratio is the count of `kinds` over the count of `of`. Sums and means are of
    `field`, distinct counts of the id `field`. A count with nothing in it is 0, everything else is missing (NaN).
    """

    entity: EntityName
    name: str
    kind: Kind
    kinds: tuple[str, ...]
    windows_s: tuple[int, ...] = ()
    field: str = ""
    of: tuple[str, ...] = ()
    why: str

    def names(self) -> list[str]:
        """The names of its features, in the order of its windows.

        >>> FEATURES[0].names()
        ['card_attempts_1m', 'card_attempts_10m', 'card_attempts_1h', 'card_attempts_24h']
        """
        return [f"{self.name}_{_NAMES[window]}" for window in self.windows_s] or [self.name]


MINUTE, TEN_MINUTES, HOUR, DAY = 60, 600, 3600, 86400
FIVE_MINUTES = 300

FEATURES: tuple[Feature, ...] = (
    Feature(entity="card", name="card_attempts", kind="count", kinds=("purchase",),
            windows_s=(MINUTE, TEN_MINUTES, HOUR, DAY), why="Card testing and rings try one card again and again."),
    Feature(entity="card", name="card_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(HOUR, DAY), why="A tested or blocked card is declined far more often than an honest one."),
    Feature(entity="card", name="card_amount_mean", kind="mean", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="Small amounts in a row are tests."),
    Feature(entity="card", name="card_amount_max", kind="max", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="One large amount after small ones is the harvest after the test."),
    Feature(entity="card", name="card_distinct_users", kind="distinct", kinds=("purchase",), field="user",
            windows_s=(DAY,), why="A stolen card is used from several accounts."),
    Feature(entity="card", name="card_distinct_devices", kind="distinct", kinds=("purchase",), field="device",
            windows_s=(DAY,), why="A stolen card is used from several devices."),
    Feature(entity="card", name="card_first_seen_age_seconds", kind="first_age", kinds=("purchase",),
            why="Most fraud happens within minutes of a card's first use here."),
    Feature(entity="device", name="device_attempts", kind="count", kinds=("purchase",),
            windows_s=(MINUTE, TEN_MINUTES, HOUR), why="Scripts buy faster than people."),
    Feature(entity="device", name="device_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(HOUR,), why="A device whose payments keep failing is working through a list."),
    Feature(entity="device", name="device_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(HOUR, DAY), why="A household has two or three cards, a card tester hundreds."),
    Feature(entity="device", name="device_distinct_users", kind="distinct", kinds=("purchase", "login"), field="user",
            windows_s=(DAY,), why="One device in many accounts: a ring, or stuffed credentials."),
    Feature(entity="device", name="device_login_failures", kind="count", kinds=("login_failed",),
            windows_s=(HOUR,), why="Credential stuffing precedes account takeover."),
    Feature(entity="device", name="device_first_seen_age_seconds", kind="first_age",
            kinds=("purchase", "login", "login_failed", "view"), why="Attackers come with fresh devices."),
    Feature(entity="user", name="user_attempts", kind="count", kinds=("purchase",), windows_s=(HOUR, DAY),
            why="Accounts that buy in bursts."),
    Feature(entity="user", name="user_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(DAY,), why="Several cards on one account in a day."),
    Feature(entity="user", name="user_distinct_devices", kind="distinct", kinds=("purchase", "login"), field="device",
            windows_s=(DAY,), why="A device the account did not use before."),
    Feature(entity="user", name="user_login_failures", kind="count", kinds=("login_failed",), windows_s=(HOUR,),
            why="Somebody is guessing the password."),
    Feature(entity="user", name="user_views", kind="count", kinds=("view",), windows_s=(HOUR,),
            why="People look before they buy; scripts do not."),
    Feature(entity="user", name="user_account_change_age_seconds", kind="last_age", kinds=("account_changed",),
            why="After a takeover e-mail or password change within minutes of the purchase."),
    Feature(entity="user", name="user_first_seen_age_seconds", kind="first_age",
            kinds=("purchase", "login", "view", "account_opened"), why="New accounts carry more risk."),
    Feature(entity="event", name="event_attempts", kind="count", kinds=("purchase",),
            windows_s=(FIVE_MINUTES, HOUR), why="How hot the event is: bursts are normal when an on-sale begins."),
    Feature(entity="event", name="event_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(HOUR,), why="An event whose payments keep failing is a testing ground."),
    Feature(entity="event", name="event_views", kind="count", kinds=("view",), windows_s=(FIVE_MINUTES,),
            why="Demand now; the base against which a purchase burst is odd."),
)  # fmt: skip

REQUEST_FEATURES = (
    "amount_minor", "n_tickets", "amount_per_ticket_minor", "account_age_seconds", "country_mismatch", "hour_of_day",
)  # fmt: skip
"""Computed from the purchase alone."""

EVENT_TICKETS_SOLD = Measure("sum", frozenset({"settled"}), "n_tickets", FIVE_MINUTES)
EVENT_CAPACITY = Measure("last", frozenset({"inventory"}), "capacity")
EVENT_REMAINING = Measure("last", frozenset({"inventory"}), "remaining")
EVENT_VIEWERS = Measure("distinct", frozenset({"view"}), "user", FIVE_MINUTES)
_EXTRA_MEASURES: dict[str, tuple[Measure, ...]] = {
    "event": (EVENT_TICKETS_SOLD, EVENT_CAPACITY, EVENT_REMAINING, EVENT_VIEWERS)
}


def _measures_of(feature: Feature) -> list[Measure]:
    """The measures a declaration needs, each with the windows of this feature."""
    kinds, longest = frozenset(feature.kinds), max(feature.windows_s, default=0)
    match feature.kind:
        case "first_age":
            return [Measure("first_time", kinds)]
        case "last_age":
            return [Measure("last_time", kinds)]
        case "count":
            return [Measure("count", kinds, longest_s=longest)]
        case "sum" | "max" | "distinct":
            return [Measure(feature.kind, kinds, feature.field, longest)]
        case "mean":
            return [Measure("sum", kinds, feature.field, longest), Measure("count", kinds, longest_s=longest)]
        case "ratio":
            return [Measure("count", kinds, longest_s=longest),
                    Measure("count", frozenset(feature.of), longest_s=longest)]  # fmt: skip


def _key(measure: Measure) -> tuple[str, frozenset[str], str]:
    """What makes two measures the same, whatever their windows."""
    return measure.operation, measure.kinds, measure.field


def _same(a: Measure, b: Measure) -> bool:
    return _key(a) == _key(b)


class EntityFeatures:
    """The features of one entity: its layout, and how its measures become numbers."""

    def __init__(self, entity: EntityName, declared: Sequence[Feature]) -> None:
        self.entity = entity
        self.declared = [feature for feature in declared if feature.entity == entity]
        self.names = [name for feature in self.declared for name in feature.names()]
        measures: list[Measure] = []
        for needed in [m for f in self.declared for m in _measures_of(f)] + list(_EXTRA_MEASURES.get(entity, ())):
            _share(measures, needed)
        windows = {w for f in self.declared for w in f.windows_s} | {m.longest_s for m in measures if m.longest_s}
        self._windows_s = sorted(windows)
        self.layout = Layout(measures, shortest_s=self._windows_s[0])
        self._is_max = [measure.operation == "max" for measure in measures]
        self._sets_of = {window: self._distinct_over(window) for window in windows}
        self._plan = [(f, [self.index_of(m) for m in _measures_of(f)]) for f in self.declared]

    def _distinct_over(self, window: int) -> list[int]:
        """The distinct counts somebody asks for over this window; counting costs, so the others are left out."""
        needed = {_key(m) for f in self.declared for m in _measures_of(f) if window in f.windows_s}
        needed |= {_key(m) for m in _EXTRA_MEASURES.get(self.entity, ()) if m.longest_s == window}
        return [i for i, m in enumerate(self.layout.measures) if m.operation == "distinct" and _key(m) in needed]

    def index_of(self, measure: Measure) -> int:
        """Where a measure sits in the layout. Raises StopIteration when it is not declared."""
        return next(index for index, known in enumerate(self.layout.measures) if _same(known, measure))

    def compute(self, state: WindowState | None, as_of_us: int) -> list[float]:
        """Every feature of the entity as of an instant, in the order of `names`.

        A tile that starts after `as_of_us` is left out; the wall clock plays no part.
        """
        if state is None:
            state = self.layout.empty()
        windows = self.windows(state, as_of_us)
        values: list[float] = []
        for feature, indexes in self._plan:
            if feature.windows_s:
                values.extend(_finish(feature, indexes, windows[window]) for window in feature.windows_s)
            else:
                values.append(_age(state.times_us.get(indexes[0]), as_of_us))
        return values

    def windows(self, state: WindowState, as_of_us: int) -> dict[int, dict[int, int]]:
        """For each window in seconds, measure index -> value: one pass over the tiles, youngest first."""
        as_of_s = as_of_us / SECOND
        numbers: dict[int, int] = {}
        sets: dict[int, set[int]] = {}
        result: dict[int, dict[int, int]] = {}
        waiting = list(self._windows_s)
        is_max = self._is_max
        for tile in reversed(state.tiles):
            if tile.start > as_of_s:
                continue
            while waiting and tile.start + HOPS_S[tile.level] <= as_of_s - waiting[0]:
                window = waiting.pop(0)
                result[window] = self._snapshot(window, numbers, sets)
            if not waiting:
                break
            for index, value in tile.numbers.items():
                if index not in numbers:
                    numbers[index] = value
                elif not is_max[index]:
                    numbers[index] += value
                elif value > numbers[index]:
                    numbers[index] = value
            for index, hashes in tile.sets.items():
                sets.setdefault(index, set()).update(hashes)
        for window in waiting:
            result[window] = self._snapshot(window, numbers, sets)
        return result

    def _snapshot(self, window: int, numbers: Mapping[int, int], sets: Mapping[int, set[int]]) -> dict[int, int]:
        snapshot = dict(numbers)
        for index in self._sets_of[window]:
            if index in sets:
                snapshot[index] = distinct_count(sets[index])
        return snapshot


def _share(measures: list[Measure], needed: Measure) -> None:
    """Add a measure, or widen the one that is there: features share what they count."""
    for index, known in enumerate(measures):
        if _same(known, needed):
            longest = max(known.longest_s, needed.longest_s)
            measures[index] = Measure(known.operation, known.kinds, known.field, longest)
            return
    measures.append(needed)


def distinct_count(hashes: set[int]) -> int:
    """How many distinct values gave these 32-bit hashes: exact up to the cap of a tile, estimated above it.

    Above it the k-th smallest hash estimates the count (Bar-Yossef et al. 2002): (k - 1) * 2^32 / h_k.

    >>> distinct_count({5, 9, 11})
    3
    """
    if len(hashes) < DISTINCT_CAP:
        return len(hashes)
    kth = sorted(hashes)[DISTINCT_CAP - 1]
    return max(len(hashes), round((DISTINCT_CAP - 1) * 2**32 / (kth + 1)))


def _finish(feature: Feature, indexes: Sequence[int], window: Mapping[int, int]) -> float:
    value = window.get(indexes[0])
    match feature.kind:
        case "mean" | "ratio":
            count = window.get(indexes[1], 0)
            return (value or 0) / count if count else NAN
        case "max":
            return NAN if value is None else float(value)
        case _:
            return float(value or 0)


def _age(us: int | None, as_of_us: int) -> float:
    return NAN if us is None or us > as_of_us else (as_of_us - us) / SECOND


ENTITY_FEATURES: dict[EntityName, EntityFeatures] = {
    "card": EntityFeatures("card", FEATURES),
    "device": EntityFeatures("device", FEATURES),
    "user": EntityFeatures("user", FEATURES),
    "event": EntityFeatures("event", FEATURES),
}

FEATURE_NAMES: tuple[str, ...] = (
    *(name for entity in ENTITY_FEATURES.values() for name in entity.names),
    *REQUEST_FEATURES,
)
"""The order of every feature vector."""

FEATURE_NAMES_HASH = blake2b(
    repr([FEATURE_NAMES, [(f.kind, f.kinds, f.windows_s, f.field, f.of) for f in FEATURES]]).encode(), digest_size=8
).hexdigest()
"""Ties a model to the features it was trained on: their names, their order, and what each of them counts."""


def keys_of(purchase: PurchaseRequested) -> dict[EntityName, str]:
    """The key of each entity a purchase's features are read from."""
    return {
        "card": purchase.card_id, "device": purchase.device_id, "user": purchase.user_id, "event": purchase.event_id,
    }  # fmt: skip


def vector(purchase: PurchaseRequested, states: Mapping[EntityName, WindowState | None]) -> NDArray[np.float32]:
    """The feature vector of a purchase, shape ``(len(FEATURE_NAMES),)``, as of its `occurred_at`; NaN is missing.

    `states` must have the purchase itself folded in: features include the current attempt, always.
    """
    as_of_us = to_us(purchase.occurred_at)
    values: list[float] = []
    for entity, declared in ENTITY_FEATURES.items():
        values += declared.compute(states.get(entity), as_of_us)
    values += request_features(purchase)
    return np.array(values, dtype=np.float32)


def request_features(purchase: PurchaseRequested) -> list[float]:
    """The features that need nothing but the purchase, in the order of `REQUEST_FEATURES`."""
    return [
        float(purchase.amount_minor),
        float(purchase.n_tickets),
        purchase.amount_minor / purchase.n_tickets,
        (to_us(purchase.occurred_at) - to_us(purchase.account_opened_at)) / SECOND,
        float(purchase.card_country != purchase.ip_country),
        float(to_us(purchase.occurred_at) // (HOUR * SECOND) % 24),
    ]


@dataclass(frozen=True, kw_only=True)
class RealtimeMetrics:
    """The row of `event_realtime_metrics` for one event."""

    current_inventory: int
    sell_through_rate_5min: float
    """Share of the capacity that settled payments took in the last five minutes."""
    concurrent_viewers: int
    """Distinct users who looked at the event in the last five minutes."""


def realtime_metrics(state: WindowState, as_of_us: int) -> RealtimeMetrics:
    """The plain typed columns of an event as of an instant; 0 where nothing is known yet."""
    event = ENTITY_FEATURES["event"]
    window = event.windows(state, as_of_us)[FIVE_MINUTES]
    capacity = state.last_value.get(event.index_of(EVENT_CAPACITY), (0, "", 0))[2]
    remaining = state.last_value.get(event.index_of(EVENT_REMAINING), (0, "", 0))[2]
    sold = window.get(event.index_of(EVENT_TICKETS_SOLD), 0)
    return RealtimeMetrics(
        current_inventory=remaining,
        sell_through_rate_5min=sold / capacity if capacity else 0.0,
        concurrent_viewers=window.get(event.index_of(EVENT_VIEWERS), 0),
    )
