"""Fraud looks like everybody one message at a time, and like fraud over time; what nobody can read is repeatable."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from ibook import codec, topics
from ibook.clock import to_us
from ibook.errors import InvalidMessage
from ibook.messages import AccountChanged, LoginAttempted, PaymentOutcome, PurchaseRequested, TicketsTransferred
from simulator.attacks import CAMPAIGNS, PATTERNS
from simulator.broken import samples
from simulator.history import generate
from simulator.sinks import Record
from simulator.truth import TransactionTruth

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Judged = list[tuple[PurchaseRequested, TransactionTruth]]


@pytest.fixture(scope="module")
def past() -> tuple[list[Record], dict[str, TransactionTruth]]:
    history = generate(21, END, hours=24, purchases=8000)
    return list(history), history.truth.transactions


@pytest.fixture(scope="module")
def purchases(past: tuple[list[Record], dict[str, TransactionTruth]]) -> Judged:
    return [(m, past[1][m.transaction_id]) for _, _, m in past[0] if isinstance(m, PurchaseRequested)]


def test_attacks_are_a_few_percent_and_other_fraud_less_than_one(purchases: Judged) -> None:
    shares = Counter(truth.pattern for _, truth in purchases)
    attacks = sum(shares[p] for p in CAMPAIGNS if PATTERNS[p].kind == "fraud") / len(purchases)
    assert 0.015 < attacks < 0.04
    assert 0.003 < (shares["stolen-card"] + shares["friendly-fraud"]) / len(purchases) < 0.012
    assert 0 < shares["friendly"] / len(purchases) < 0.005


def test_every_attack_has_its_innocent_look_alike(purchases: Judged) -> None:
    kinds = Counter(truth.look_alike for _, truth in purchases if not truth.is_fraud)
    expected = {look_alike for pattern in PATTERNS.values() for look_alike in pattern.look_alikes}
    assert {"family_device", "office_ip", "traveller", "fan_club", "window_shopper", "honest_refund"} <= expected
    assert min(kinds[kind] for kind in expected) >= 20


def test_ids_of_fraud_have_the_form_of_all_ids(purchases: Judged) -> None:
    form = re.compile("[0-9a-f]{20}")
    for purchase, _ in purchases:
        for name in ("message_id", "transaction_id", "user_id", "card_id", "device_id", "event_id"):
            assert form.fullmatch(getattr(purchase, name))
        assert purchase.quote_id is None


def test_fraudsters_use_the_events_and_ticket_types_of_others(purchases: Judged) -> None:
    """Nearly: of a small event near its start a fraudster may be the only one to want the dearest seats."""
    honest = {(p.event_id, p.ticket_type) for p, truth in purchases if not truth.is_fraud}
    theirs = [(p.event_id, p.ticket_type) for p, truth in purchases if truth.is_fraud]
    assert {ticket for _, ticket in theirs} <= {ticket for _, ticket in honest}
    assert sum(pair in honest for pair in theirs) > 0.97 * len(theirs)
    assert {p.email_domain for p, truth in purchases if truth.is_fraud} <= {p.email_domain for p, _ in purchases}


def average_precision(scores: list[float], is_fraud: list[bool]) -> float:
    """Mean precision at each fraud, ties broken against it."""
    order = np.lexsort((np.array(is_fraud), -np.array(scores)))
    hits = np.array(is_fraud)[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


FIELDS: dict[str, Callable[[PurchaseRequested], float]] = {
    "amount": lambda p: p.amount_minor,
    "tickets": lambda p: p.n_tickets,
    "account age": lambda p: (p.occurred_at - p.account_opened_at).total_seconds(),
    "another country": lambda p: p.card_country != p.ip_country,
    "bin": lambda p: int(p.bin),
}


@pytest.mark.parametrize("name", list(FIELDS))
def test_no_single_field_gives_fraud_away(purchases: Judged, name: str) -> None:
    values = [float(FIELDS[name](purchase)) for purchase, _ in purchases]
    is_fraud = [truth.is_fraud for _, truth in purchases]
    base = sum(is_fraud) / len(is_fraud)
    for sign in (1, -1):
        assert average_precision([sign * value for value in values], is_fraud) < 6 * base


def test_card_testing_puts_many_cards_on_few_devices(purchases: Judged) -> None:
    cards, devices = defaultdict(set), defaultdict(set)
    for purchase, truth in purchases:
        if truth.pattern == "card-testing" and truth.attack is not None:
            cards[truth.attack].add(purchase.card_id)
            devices[truth.attack].add(purchase.device_id)
    assert cards
    assert all(len(cards[number]) >= 10 and len(devices[number]) <= 5 for number in cards)


def test_issuers_decline_tested_cards_far_more_often(
    past: tuple[list[Record], dict[str, TransactionTruth]],
) -> None:
    asked, declined = Counter[bool](), Counter[bool]()
    for _, _, message in past[0]:
        if isinstance(message, PaymentOutcome) and message.status in ("authorised", "declined"):
            truth = past[1][message.transaction_id]
            if truth.pattern in ("honest", "card-testing", "card-testing-slow"):
                asked[truth.is_fraud] += 1
                declined[truth.is_fraud] += message.status == "declined"
    assert 0.02 < declined[False] / asked[False] < 0.06
    assert 0.4 < declined[True] / asked[True] < 0.8


def test_a_taken_over_account_is_entered_changed_looted_and_emptied(
    past: tuple[list[Record], dict[str, TransactionTruth]], purchases: Judged
) -> None:
    victims = {(p.user_id, p.device_id): p for p, truth in purchases if truth.pattern == "account-takeover"}
    seen: Counter[str] = Counter()
    for _, _, message in past[0]:
        if isinstance(message, LoginAttempted | AccountChanged | TicketsTransferred):
            purchase = victims.get((message.user_id, message.device_id))
            if purchase is not None:
                before = message.occurred_at <= purchase.occurred_at
                seen[f"{type(message).__name__} {'before' if before else 'after'}"] += 1
    assert seen["LoginAttempted before"] >= len(victims)
    assert seen["AccountChanged before"] > 0.2 * len(victims)
    assert seen["TicketsTransferred after"] > 0.2 * len(victims)
    ages = [to_us(p.occurred_at) - to_us(p.account_opened_at) for p in victims.values()]
    assert np.median(ages) > 60 * 86_400_000_000  # aged accounts: their age gives nothing away


def test_every_broken_message_is_refused_and_repeatable() -> None:
    broken = samples(3)
    assert broken == samples(3) != samples(4)
    assert {"malformed JSON", "wrong type", "missing field", "naive time", "NaN", "oversize", "unknown tag"} <= {
        why for _, _, _, why in broken
    }
    for topic, _, payload, _ in broken:
        with pytest.raises(InvalidMessage):
            codec.decode(payload, topics.BY_NAME[topic].message)
