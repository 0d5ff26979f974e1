"""The features, declared once, and the vector of a purchase: state to numbers at an instant.

The verdict worker, training, backfill and Feast's on-demand views all call `vector` or `EntityFeatures.compute`, so a
value in training is the value that was served.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.declarations import (
    DAY,
    FIVE_MINUTES,
    HOUR,
    MINUTE,
    MONTH,
    TEN_MINUTES,
    EntityFeatures,
    Feature,
)
from ibook.entities import ENTITIES, EntityName, Fact, fact_of
from ibook.finishing import NAN
from ibook.measures import COARSE, FINE, LIFETIME, SECOND, Measure, Where
from ibook.messages import PurchaseRequested
from ibook.states import WindowState

LABEL_DELAY = DAY
"""Labels are looked at a day after they came: by then the back office has taken back what it said in error."""
SMALL_MINOR = 500
"""What a tester charges: up to five of the currency's units."""

CARD: tuple[Feature, ...] = (
    Feature(entity="card", name="card_attempts", kind="count", kinds=("purchase",),
            windows_s=(MINUTE, TEN_MINUTES, HOUR, DAY), why="Card testing and rings try one card again and again."),
    Feature(entity="card", name="card_small_attempts", kind="count", kinds=("purchase",),
            where=(Where("amount_minor", "<=", SMALL_MINOR),), windows_s=(TEN_MINUTES, DAY),
            why="A tester spends as little as the shop lets it."),
    Feature(entity="card", name="card_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(TEN_MINUTES, HOUR, DAY),
            why="A tested or blocked card is declined far more often than an honest one."),
    Feature(entity="card", name="card_amount_sum", kind="sum", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="A stolen card is emptied in a day."),
    Feature(entity="card", name="card_amount_mean", kind="mean", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="Small amounts in a row are tests."),
    Feature(entity="card", name="card_amount_max", kind="max", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="One large amount after small ones is the harvest after the test."),
    Feature(entity="card", name="card_amount_min", kind="min", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="The test that came before the harvest."),
    Feature(entity="card", name="card_amount_z", kind="z_score", kinds=("purchase",), field="amount_minor",
            windows_s=(MONTH,), why="How far this amount lies from what the card usually pays."),
    Feature(entity="card", name="card_distinct_users", kind="distinct", kinds=("purchase",), field="user",
            windows_s=(DAY,), why="A stolen card is used from several accounts."),
    Feature(entity="card", name="card_distinct_devices", kind="distinct", kinds=("purchase",), field="device",
            windows_s=(DAY,), why="A stolen card is used from several devices."),
    Feature(entity="card", name="card_distinct_ips", kind="distinct", kinds=("purchase",), field="ip",
            windows_s=(DAY,), why="Proxies change the address from one attempt to the next."),
    Feature(entity="card", name="card_distinct_events", kind="distinct", kinds=("purchase",), field="event",
            windows_s=(DAY,), why="Nobody goes to many events in one day; a reseller's card does."),
    Feature(entity="card", name="card_first_seen_age_seconds", kind="first_age", kinds=("purchase",),
            why="Most fraud happens within minutes of a card's first use here."),
    Feature(entity="card", name="card_prior_fraud", kind="count", kinds=("fraud",), windows_s=(MONTH,),
            delay_s=LABEL_DELAY, why="A card that was disputed once is disputed again."),
)  # fmt: skip

DEVICE: tuple[Feature, ...] = (
    Feature(entity="device", name="device_attempts", kind="count", kinds=("purchase",),
            windows_s=(5, MINUTE, TEN_MINUTES, HOUR), why="Scripts buy faster than people."),
    Feature(entity="device", name="device_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(HOUR,), why="A device whose payments keep failing is working through a list."),
    Feature(entity="device", name="device_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(TEN_MINUTES, HOUR, DAY), why="A household has two or three cards, a card tester hundreds."),
    Feature(entity="device", name="device_distinct_users", kind="distinct", kinds=("purchase", "login"), field="user",
            windows_s=(DAY,), why="One device in many accounts: a ring, or stuffed credentials."),
    Feature(entity="device", name="device_login_failures", kind="count", kinds=("login_failed",),
            windows_s=(HOUR,), why="Credential stuffing precedes account takeover."),
    Feature(entity="device", name="device_seats_held", kind="sum", kinds=("hold",), field="n_seats",
            windows_s=(TEN_MINUTES,), why="A bot holds seats it will not pay for, so that others can't."),
    Feature(entity="device", name="device_first_seen_age_seconds", kind="first_age",
            kinds=("purchase", "login", "login_failed", "view"), why="Attackers come with fresh devices."),
    Feature(entity="device", name="device_prior_fraud", kind="count", kinds=("fraud",), windows_s=(MONTH,),
            delay_s=LABEL_DELAY, why="A device outlives the cards that are used up on it."),
)  # fmt: skip

IP: tuple[Feature, ...] = (
    Feature(entity="ip", name="ip_attempts", kind="count", kinds=("purchase",),
            windows_s=(MINUTE, TEN_MINUTES, HOUR), why="One address, many purchases: an office, or a script."),
    Feature(entity="ip", name="ip_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(HOUR,), why="An office has as many cards as people; a tester has more."),
    Feature(entity="ip", name="ip_distinct_users", kind="distinct", kinds=("purchase", "login"), field="user",
            windows_s=(HOUR,), why="Many accounts behind one address in an hour."),
    Feature(entity="ip", name="ip_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(HOUR,), why="What tells the tester from the office."),
    Feature(entity="ip", name="ip_login_failures", kind="count", kinds=("login_failed",),
            windows_s=(TEN_MINUTES, HOUR), why="Stuffed credentials come from few addresses."),
    Feature(entity="ip", name="ip_accounts_opened", kind="count", kinds=("account_opened",), windows_s=(DAY,),
            why="Rings open their accounts in rows."),
)  # fmt: skip

SUBNET: tuple[Feature, ...] = (
    Feature(entity="subnet", name="subnet_attempts", kind="count", kinds=("purchase",),
            windows_s=(TEN_MINUTES, HOUR), why="Proxies are rented by the network."),
    Feature(entity="subnet", name="subnet_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(HOUR,), why="Cards spread over a network to stay under every per-address limit."),
    Feature(entity="subnet", name="subnet_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(HOUR,), why="A network in which payments fail."),
    Feature(entity="subnet", name="subnet_tickets", kind="sum", kinds=("purchase",), field="n_tickets",
            windows_s=(HOUR,), why="A ring's accounts each buy little; their network buys a lot."),
    Feature(entity="subnet", name="subnet_distinct_bins", kind="distinct", kinds=("purchase",), field="bin",
            windows_s=(HOUR,), why="An office's cards are of many issuers; a ring rents its cards from one or two."),
    Feature(entity="subnet", name="subnet_login_failures", kind="count", kinds=("login_failed",), windows_s=(HOUR,),
            why="Stuffing that changes its address, but not its provider."),
    Feature(entity="subnet", name="subnet_accounts_opened", kind="count", kinds=("account_opened",), windows_s=(DAY,),
            why="Rings open their accounts from one network."),
)  # fmt: skip

BIN: tuple[Feature, ...] = (
    Feature(entity="bin", name="bin_attempts", kind="count", kinds=("purchase",), windows_s=(TEN_MINUTES, DAY),
            why="Generated card numbers share their first digits."),
    Feature(entity="bin", name="bin_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(TEN_MINUTES, HOUR), why="Most generated numbers do not exist."),
    Feature(entity="bin", name="bin_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(TEN_MINUTES,), why="New numbers of one issuer, one after the other."),
    Feature(entity="bin", name="bin_fraud_ratio", kind="ratio", kinds=("fraud",), of=("purchase",),
            windows_s=(MONTH,), delay_s=LABEL_DELAY, why="Leaks come by the issuer."),
)  # fmt: skip

USER: tuple[Feature, ...] = (
    Feature(entity="user", name="user_attempts", kind="count", kinds=("purchase",), windows_s=(HOUR, DAY),
            why="Accounts that buy in bursts."),
    Feature(entity="user", name="user_tickets", kind="sum", kinds=("purchase",), field="n_tickets",
            windows_s=(DAY,), why="Resellers buy up to every limit, and then once more."),
    Feature(entity="user", name="user_amount_sum", kind="sum", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="What the account spends today, over all its cards."),
    Feature(entity="user", name="user_distinct_cards", kind="distinct", kinds=("purchase",), field="card",
            windows_s=(DAY,), why="Several cards on one account in a day."),
    Feature(entity="user", name="user_distinct_devices", kind="distinct", kinds=("purchase", "login"), field="device",
            windows_s=(DAY,), why="A device the account did not use before."),
    Feature(entity="user", name="user_distinct_events", kind="distinct", kinds=("purchase",), field="event",
            windows_s=(DAY,), why="People want one event, resellers want what sells."),
    Feature(entity="user", name="user_login_failures", kind="count", kinds=("login_failed",), windows_s=(HOUR,),
            why="Somebody is guessing the password."),
    Feature(entity="user", name="user_views", kind="count", kinds=("view",), windows_s=(HOUR,),
            why="People look before they buy; scripts do not."),
    Feature(entity="user", name="user_seats_held", kind="sum", kinds=("hold",), field="n_seats",
            windows_s=(TEN_MINUTES,), why="Seats held and not paid for."),
    Feature(entity="user", name="user_tickets_transferred", kind="sum", kinds=("transfer",), field="n_tickets",
            windows_s=(DAY,), why="After a takeover tickets leave the account within minutes."),
    Feature(entity="user", name="user_refund_ratio", kind="ratio", kinds=("refunded",), of=("settled",),
            windows_s=(MONTH,), why="Who gets most of it back does not come for the show."),
    Feature(entity="user", name="user_amount_z", kind="z_score", kinds=("purchase",), field="amount_minor",
            windows_s=(MONTH,), why="How far this amount lies from what the account usually pays."),
    Feature(entity="user", name="user_account_change_age_seconds", kind="last_age", kinds=("account_changed",),
            why="After a takeover e-mail or password change within minutes of the purchase."),
    Feature(entity="user", name="user_first_seen_age_seconds", kind="first_age",
            kinds=("purchase", "login", "view", "account_opened"), why="New accounts carry more risk."),
    Feature(entity="user", name="user_prior_fraud", kind="count", kinds=("fraud",), windows_s=(MONTH,),
            delay_s=LABEL_DELAY, why="Chargebacks of one account come in rows."),
    Feature(entity="user", name="user_purchases", kind="count", kinds=("settled",), windows_s=(LIFETIME,),
            why="A buyer of many years is who they say they are."),
    Feature(entity="user", name="user_risk_ppm", kind="decayed_mean", kinds=("scored",), field="score_ppm",
            windows_s=(MONTH,), for_model=False,
            why="What we thought of earlier purchases; a model that saw it would learn from itself."),
    *(Feature(entity="user", name=f"user_{category}_purchases", kind="count", kinds=("settled",),
              where=(Where("category", "==", category),), windows_s=(LIFETIME,), for_model=False,
              why="What the buyer likes, for the preferred category.")
      for category in ("sports", "concerts", "family", "cultural")),
)  # fmt: skip

EVENT: tuple[Feature, ...] = (
    Feature(entity="event", name="event_attempts", kind="count", kinds=("purchase",),
            windows_s=(MINUTE, FIVE_MINUTES, HOUR),
            why="How hot the event is: bursts are normal when an on-sale begins."),
    Feature(entity="event", name="event_decline_ratio", kind="ratio", kinds=("declined",), of=("purchase",),
            windows_s=(FIVE_MINUTES, HOUR), why="An event whose payments keep failing is a testing ground."),
    Feature(entity="event", name="event_views", kind="count", kinds=("view",), windows_s=(FIVE_MINUTES,),
            why="Demand now; the base against which a purchase burst is odd."),
    Feature(entity="event", name="event_cards_per_device", kind="ratio", kinds=("purchase",), field="card",
            of=("purchase",), of_field="device", windows_s=(TEN_MINUTES,), why="A farm buys with many cards each."),
    Feature(entity="event", name="event_seats_held", kind="sum", kinds=("hold",), field="n_seats",
            windows_s=(TEN_MINUTES,), why="Inventory that bots keep from everybody else."),
    Feature(entity="event", name="event_amount_mean", kind="mean", kinds=("purchase",), field="amount_minor",
            windows_s=(DAY,), why="What a purchase of this event usually costs."),
    Feature(entity="event", name="event_tickets_sold", kind="sum", kinds=("settled",), field="n_tickets",
            windows_s=(LIFETIME,), for_model=False, why="The event's past, for planning and price."),
    Feature(entity="event", name="event_revenue_minor", kind="sum", kinds=("settled",), field="amount_minor",
            windows_s=(LIFETIME,), for_model=False, why="With the tickets sold, the average price."),
)  # fmt: skip

PROMOTER: tuple[Feature, ...] = (
    Feature(entity="promoter", name="promoter_attempts", kind="count", kinds=("purchase",), windows_s=(HOUR,),
            why="A promoter's on-sale lifts all its events."),
    Feature(entity="promoter", name="promoter_refund_ratio", kind="ratio", kinds=("refunded",), of=("settled",),
            windows_s=(MONTH,), why="Some promoters cancel and postpone; refunds then mean nothing."),
    Feature(entity="promoter", name="promoter_fraud_ratio", kind="ratio", kinds=("fraud",), of=("purchase",),
            windows_s=(MONTH,), delay_s=LABEL_DELAY, why="Tickets that resell well are stolen more often."),
    Feature(entity="promoter", name="promoter_success_rate", kind="ratio", kinds=("inventory",), field="event",
            where=(Where("sold_permille", ">=", 800),), of=("inventory",), of_field="event", windows_s=(LIFETIME,),
            for_model=False, why="Share of the promoter's events that sold at least 80 % of their seats."),
)  # fmt: skip

FEATURES: tuple[Feature, ...] = (*USER, *CARD, *DEVICE, *IP, *SUBNET, *BIN, *EVENT, *PROMOTER)

EVENT_TICKETS_SOLD = Measure("sum", frozenset({"settled"}), "n_tickets", longest_s=FIVE_MINUTES)
EVENT_CAPACITY = Measure("max", frozenset({"inventory"}), "capacity", longest_s=LIFETIME)
EVENT_REMAINING = Measure("last", frozenset({"inventory"}), "remaining", longest_s=LIFETIME)
EVENT_VIEWERS = Measure("distinct", frozenset({"view"}), "user", longest_s=FIVE_MINUTES)
_EVENT_MEASURES = (
    (EVENT_TICKETS_SOLD, FIVE_MINUTES), (EVENT_CAPACITY, LIFETIME), (EVENT_REMAINING, LIFETIME),
    (EVENT_VIEWERS, FIVE_MINUTES),
)  # fmt: skip
BUSY: frozenset[EntityName] = frozenset({"subnet", "bin", "event", "promoter"})
"""So many share one of these that every tile is filled; their tiles are coarser."""

ENTITY_FEATURES: dict[EntityName, EntityFeatures] = {
    entity: EntityFeatures(
        entity, FEATURES, extra=_EVENT_MEASURES if entity == "event" else (),
        resolution=COARSE if entity in BUSY else FINE,
    )
    for entity in ENTITIES
}  # fmt: skip

REQUEST_FEATURES = {
    "amount_minor": "What is at stake.",
    "n_tickets": "Resellers buy as many as they may.",
    "amount_per_ticket_minor": "Testers choose the cheapest ticket.",
    "account_age_seconds": "Accounts are opened for the attack, or bought old.",
    "country_mismatch": "Card and address of different countries: a traveller, or a stolen card.",
    "hour_of_day": "UTC; scripts do not sleep.",
    "days_to_event": "Five times likelier on the day than two months ahead.",
    "price_over_list": "What is paid over the list price: who resells pays any.",
}
"""Computed from the purchase alone; each with its reason."""

FEATURE_NAMES: tuple[str, ...] = (
    *(name for entity in ENTITY_FEATURES.values() for name in entity.model_names),
    *REQUEST_FEATURES,
)
"""The order of every feature vector."""

MODEL_FEATURES: dict[EntityName, EntityFeatures] = {
    entity: each.for_model() for entity, each in ENTITY_FEATURES.items()
}
"""The features of each entity that the model sees: what `vector_of` takes."""

FEATURE_NAMES_HASH = blake2b(
    repr([FEATURE_NAMES, [
        (f.kind, f.kinds, f.windows_s, f.field, f.where, f.of, f.of_field, f.delay_s) for f in FEATURES if f.for_model
    ]]).encode(), digest_size=8,
).hexdigest()  # fmt: skip
"""Ties a model to the features it was trained on: their names, their order, and what each of them counts."""

NOTHING_SEEN = {entity: each.compute(None, 0) for entity, each in MODEL_FEATURES.items()}
"""Those of an entity nothing is known of; they are the same at every instant."""


def keys_of(purchase: PurchaseRequested) -> dict[EntityName, str]:
    """The key of each entity a purchase's features are read from; one the purchase does not name is left out."""
    return entity_keys(fact_of(purchase))


def entity_keys(fact: Fact) -> dict[EntityName, str]:
    """The keys of the entities a fact names."""
    return {entity: fact.ids[entity] for entity in ENTITIES if entity in fact.ids}


def vector(purchase: PurchaseRequested, states: Mapping[EntityName, WindowState | None]) -> NDArray[np.float32]:
    """The feature vector of a purchase, shape ``(len(FEATURE_NAMES),)``, as of its `occurred_at`; NaN is missing.

    `states` must have the purchase itself folded in: features include the current attempt, always.
    """
    as_of_us = to_us(purchase.occurred_at)
    return vector_of(purchase, {
        entity: declared.compute(states.get(entity), as_of_us) for entity, declared in MODEL_FEATURES.items()
    })  # fmt: skip


def vector_of(purchase: PurchaseRequested, computed: Mapping[EntityName, list[float]]) -> NDArray[np.float32]:
    """The vector from each entity's `MODEL_FEATURES` as of the purchase; one that is left out has none at all."""
    values: list[float] = []
    for entity, nothing in NOTHING_SEEN.items():
        values += computed.get(entity) or nothing
    values += request_features(purchase)
    return np.array(values, dtype=np.float32)


def request_features(purchase: PurchaseRequested) -> list[float]:
    """The features that need nothing but the purchase, in the order of `REQUEST_FEATURES`."""
    occurred_us, per_ticket = to_us(purchase.occurred_at), purchase.amount_minor / purchase.n_tickets
    starts_us = to_us(purchase.starts_at) if purchase.starts_at else None
    return [
        float(purchase.amount_minor),
        float(purchase.n_tickets),
        per_ticket,
        (occurred_us - to_us(purchase.account_opened_at)) / SECOND,
        float(purchase.card_country != purchase.ip_country),
        float(occurred_us // (HOUR * SECOND) % 24),
        NAN if starts_us is None else (starts_us - occurred_us) / (DAY * SECOND),
        per_ticket / purchase.list_price_minor if purchase.list_price_minor else NAN,
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
    ever, recent = event.sums(state, as_of_us, LIFETIME), event.sums(state, as_of_us, FIVE_MINUTES)
    capacity = ever.numbers.get(event.index_of(EVENT_CAPACITY), 0)
    remaining = ever.lasts.get(event.index_of(EVENT_REMAINING))
    sold = recent.numbers.get(event.index_of(EVENT_TICKETS_SOLD), 0)
    return RealtimeMetrics(
        current_inventory=remaining.value if remaining else 0,
        sell_through_rate_5min=sold / capacity if capacity else 0.0,
        concurrent_viewers=recent.distinct(event.index_of(EVENT_VIEWERS)),
    )
