"""Purchases and their past, for tests that ask Feast about them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ibook.clock import to_us
from ibook.declarations import EntityFeatures
from ibook.entities import ENTITIES, ROUTES, EntityName, EntityUpdate, Fact, update_of
from ibook.features import ENTITY_FEATURES, FEATURES, REQUEST_FEATURES, keys_of, request_features
from ibook.messages import PurchaseRequested
from ibook.states import WindowState

States = dict[EntityName, dict[str, WindowState]]


def purchase(index: int) -> PurchaseRequested:
    """One of a series; every third names neither promoter nor start nor list price, and its address is no address."""
    occurred_at = datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC) + timedelta(seconds=1.3) * index
    bare = index % 3 == 0
    return PurchaseRequested(
        message_id=f"m{index}", occurred_at=occurred_at, transaction_id=f"t{index}", user_id=f"u{index % 3}",
        card_id=f"c{index % 2}", device_id="d", ip="proxy" if bare else f"1.2.3.{index % 5}", event_id=f"e{index % 4}",
        amount_minor=1_000 + 7 * index, currency="EUR", n_tickets=1 + index % 3, ticket_type="seat", bin="123456",
        card_country="DE", ip_country="FR" if index % 2 else "DE", email_domain="example.org",
        account_opened_at=occurred_at - timedelta(days=index, microseconds=11),
        promoter_id=None if bare else "p", starts_at=None if bare else occurred_at + timedelta(days=9, microseconds=3),
        list_price_minor=None if bare else 900,
    )  # fmt: skip


def fold(purchases: Iterable[PurchaseRequested], states: States | None = None, first_offset: int = 0) -> States:
    """The states after purchases; those given are changed."""
    updates = (update_of(bought, 0, offset, 0) for offset, bought in enumerate(purchases, first_offset))
    return fold_updates(updates, states)


def fold_updates(updates: Iterable[EntityUpdate], states: States | None = None) -> States:
    """The states after updates; those given are changed."""
    states = {entity: {} for entity in ENTITIES} if states is None else states
    for update in updates:
        for entity in update.entities:
            layout = ENTITY_FEATURES[entity].layout
            layout.fold(states[entity].setdefault(update.fact.ids[entity], layout.empty()), update)
    return states


def request_of(bought: PurchaseRequested) -> dict[str, Any]:
    """What plain Feast wants to know of a purchase; a key it lacks is "", and a number 0."""
    keys = keys_of(bought)
    return {
        **{f"{entity}_id": keys.get(entity, "") for entity in ENTITIES},
        "as_of": to_us(bought.occurred_at), "purchase_amount_minor": bought.amount_minor,
        "purchase_n_tickets": bought.n_tickets, "purchase_account_opened_us": to_us(bought.account_opened_at),
        "purchase_card_country": bought.card_country, "purchase_ip_country": bought.ip_country,
        "purchase_starts_us": to_us(bought.starts_at) if bought.starts_at else 0,
        "purchase_list_price_minor": bought.list_price_minor or 0,
    }  # fmt: skip


def finished(bought: PurchaseRequested, known: Mapping[EntityName, WindowState | None]) -> dict[str, float]:
    """Every feature by name, as the worker computes it and before it is cut to float32."""
    as_of_us = to_us(bought.occurred_at)
    of_entities = (
        (name, value)
        for entity, declared in ENTITY_FEATURES.items()
        for name, value in zip(declared.names, declared.compute(known.get(entity), as_of_us), strict=True)
    )
    return {**dict(of_entities), **dict(zip(REQUEST_FEATURES, request_features(bought), strict=True))}


def of_an_older_declaration(entity: EntityName, state: WindowState) -> WindowState:
    """A state as it was written when only every other feature of the entity was declared."""
    declared = [feature for feature in FEATURES if feature.entity == entity][::2]
    older = EntityFeatures(entity, declared, resolution=ENTITY_FEATURES[entity].resolution)
    adopted = older.layout.adopt(state)
    assert adopted.layout != state.layout
    return adopted


# ------------------------------------------------------------------------------------------------- what was bought
_SOLD, _PAST_US = {"amount_minor": 5_000, "n_tickets": 2}, to_us(datetime(2026, 3, 1, tzinfo=UTC))
_WHO = {"user": "u", "card": "c", "promoter": "p"}


def _settled(event: str, category: str) -> tuple[str, dict[str, int], dict[str, str]]:
    return "settled", _SOLD, {**_WHO, "event": event, "category": category}


def _inventory(event: str, sold_permille: int) -> tuple[str, dict[str, int], dict[str, str]]:
    numbers = {"capacity": 1_000, "remaining": 1_000 - sold_permille, "sold_permille": sold_permille}
    return "inventory", numbers, {"event": event, "promoter": "p"}


PAST = [
    _inventory("e1", 100), _inventory("e2", 799), _inventory("e3", 800), _settled("e1", "sports"),
    ("settled", {"amount_minor": 5_100, "n_tickets": 1}, {**_WHO, "event": "e1", "category": "family"}),
    _settled("e2", "family"), ("scored", {"score_ppm": 100_000}, {"user": "u"}), _settled("e2", "sports"),
    ("scored", {"score_ppm": 300_000}, {"user": "u"}), _inventory("e1", 950),
    ("declined", _SOLD, {**_WHO, "event": "e1"}),
]  # fmt: skip
"""Kind, numbers and ids of facts, a second apart."""
PAST_AS_OF_US = _PAST_US + len(PAST) * 1_000_000
PAST_ANSWERS = {
    "total_tickets_sold": 3.0, "avg_ticket_price": 10_100 / 3, "promoter_success_rate": 2 / 3,
    "lifetime_purchases": 4.0, "fraud_risk_score": 0.2, "preferred_category": "family",
}  # fmt: skip
"""What the plan's views say of e1, p and u after `PAST`; family and sports were bought twice each."""


def fold_facts(facts: Iterable[tuple[str, dict[str, int], dict[str, str]]]) -> States:
    """The states after facts, a second apart."""
    return fold_updates(
        EntityUpdate(
            0, offset, 0, [entity for entity in ROUTES[kind] if entity in ids],
            Fact(kind, f"f{offset}", _PAST_US + offset * 1_000_000, numbers, ids),
        )
        for offset, (kind, numbers, ids) in enumerate(facts)
    )  # fmt: skip
