"""Labels come as in life: late, some earlier, a few taken back, and none about what never happened."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median, quantiles

import pytest
from msgspec.structs import replace

from ibook.clock import to_us
from ibook.messages import FraudLabel, Message, PaymentOutcome, PurchaseRequested
from ibook.topics import FRAUD_LABELS, Topic
from simulator.attacks import PATTERNS
from simulator.backoffice import BackOffice
from simulator.engine import Engine
from simulator.feed import Feed
from simulator.history import History
from simulator.ids import Ids
from simulator.mix import DEFAULT_MIX
from simulator.shop import ShopRules
from simulator.truth import TransactionTruth
from simulator.visits import Nature
from tests.unit.test_simulator_shop import Stage

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = 86_400.0


class Office:
    """A back office, the disputes it was told of at noon, and what it said when."""

    def __init__(self, n: int, day_seconds: float = DAY) -> None:
        self.engine = Engine(to_us(NOW))
        self.labels: list[FraudLabel] = []
        office = BackOffice(self.engine, Feed(self.engine, Ids("office"), self._write), Random("office"), day_seconds)
        stage = Stage()
        first = stage.buy(stage.intent())
        assert first is not None
        requests = [replace(first, transaction_id=f"t{number}") for number in range(n)]
        self.requests = {request.transaction_id: request for request in requests}
        for request in requests:
            office.expect_dispute(request)
        self.engine.run_until(self.engine.now_us + int(150 * day_seconds * 1_000_000))

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        assert isinstance(message, FraudLabel) and topic is FRAUD_LABELS and key == message.transaction_id
        self.labels.append(message)

    def days(self, source: str, day_seconds: float = DAY) -> dict[str, float]:
        return {
            label.transaction_id: (label.occurred_at - NOW).total_seconds() / day_seconds
            for label in self.labels if label.source == source
        }  # fmt: skip


@pytest.fixture(scope="module")
def office() -> Office:
    return Office(4_000)


def test_every_dispute_becomes_one_chargeback_weeks_later(office: Office) -> None:
    days = office.days("chargeback")
    assert days.keys() == office.requests.keys()
    assert sum(label.source == "chargeback" for label in office.labels) == 4_000
    assert 28 < median(days.values()) < 32
    assert 84 < quantiles(days.values(), n=20)[-1] < 96
    assert max(days.values()) == pytest.approx(120)
    assert 0 < sum(each > 119.9 for each in days.values()) < 0.04 * 4_000


def test_the_issuer_warns_early_of_about_half(office: Office) -> None:
    warned, charged = office.days("early_warning"), office.days("chargeback")
    assert 0.46 < len(warned) / 4_000 < 0.54
    assert all(days <= charged[one] + 1e-5 for one, days in warned.items())
    assert all(days <= 14 for days in warned.values())
    assert all(days >= 3 or days == pytest.approx(charged[one]) for one, days in warned.items())


def test_few_chargebacks_are_taken_back_and_only_after_they_came(office: Office) -> None:
    back, charged = office.days("reversal"), office.days("chargeback")
    assert 0.01 < len(back) / 4_000 < 0.03
    assert all(5 <= days - charged[one] <= 20 for one, days in back.items())
    assert {(label.source, label.is_fraud) for label in office.labels} == {
        ("chargeback", True), ("early_warning", True), ("reversal", False),
    }  # fmt: skip


def test_a_label_says_when_it_was_so_and_when_it_became_known(office: Office) -> None:
    for label in office.labels:
        request = office.requests[label.transaction_id]
        assert label.effective_at == request.occurred_at
        assert label.occurred_at > NOW
        for name in ("user_id", "card_id", "device_id", "ip", "event_id", "amount_minor", "bin"):
            assert getattr(label, name) == getattr(request, name)


def test_compression_shrinks_delays_and_nothing_else() -> None:
    life, fast = Office(300), Office(300, day_seconds=DAY / 1440)
    assert [(a.transaction_id, a.source) for a in life.labels] == [(b.transaction_id, b.source) for b in fast.labels]
    for a, b in zip(life.labels, fast.labels, strict=True):
        assert (a.occurred_at - NOW) / 1440 == pytest.approx(b.occurred_at - NOW, abs=timedelta(microseconds=2))
        assert a.effective_at == b.effective_at


# ------------------------------------------------------------------------------------------------------------ refunds
def refund_days(nature: Nature, n: int = 60) -> tuple[list[float], float]:
    """Days from purchase to refund, and from purchase to the event's start."""
    stage = Stage(ShopRules(label_day_seconds=DAY))
    starts = (stage.events[-1].starts_us - stage.engine.now_us) / 1e6 / DAY
    stage.events = stage.events[-1:]
    for _ in range(n):
        purchase = stage.buy(stage.intent(nature, n_tickets=1))
        assert purchase is not None
        stage.shop.on_verdict(purchase.transaction_id, "approve")
    began = stage.engine.now_us
    stage.after(200 * DAY)
    back = [m for m in stage.published if isinstance(m, PaymentOutcome) and m.status == "refunded"]
    assert len(back) == n
    return [(to_us(outcome.occurred_at) - began) / 1e6 / DAY for outcome in back], starts


def test_who_changes_plans_asks_within_weeks_and_who_waits_asks_shortly_before_the_event() -> None:
    soon, starts = refund_days(Nature(refunds=True))
    late, _ = refund_days(Nature(is_abuse=True, pattern="refund-abuse", refunds=True, refunds_late=True))
    assert starts > 60
    assert min(soon) >= 0.5 and max(soon) < 20.1 and max(soon) - min(soon) > 10
    assert starts - 3.01 < min(late) and max(late) < starts - 0.49


def test_nobody_is_paid_back_once_the_event_has_begun() -> None:
    stage = Stage(ShopRules(label_day_seconds=DAY, refund_days=(300.0, 400.0)))
    stage.events = stage.events[-1:]
    purchase = stage.buy(stage.intent(Nature(refunds=True)))
    assert purchase is not None
    stage.shop.on_verdict(purchase.transaction_id, "approve")
    stage.after(250 * DAY)
    (refund,) = [m for m in stage.published if isinstance(m, PaymentOutcome) and m.status == "refunded"]
    assert purchase.starts_at is not None and refund.occurred_at <= purchase.starts_at + timedelta(minutes=1)


# ------------------------------------------------------------------------------------------------------------- reviews
def test_a_reviewer_sees_fraud_but_neither_friendly_fraud_nor_abuse() -> None:
    def reviewed(nature: Nature) -> list[tuple[str, bool]]:
        stage = Stage(ShopRules(reviewer_errs=0.0))
        stage.sold(nature, action="review")
        return [each for each in stage.labels() if each[0] == "review"]

    assert reviewed(Nature(is_fraud=True, pattern="stolen-card")) == [("review", True)]
    assert reviewed(Nature(is_fraud=True, pattern="friendly-fraud", is_evident=False)) == [("review", False)]
    assert reviewed(Nature(is_abuse=True, pattern="scalper-ring")) == [("review", False)]


# ------------------------------------------------------------------------------------------------------------- a past
Past = tuple[list[Message], dict[str, TransactionTruth]]


@pytest.fixture(scope="module")
def past() -> Past:
    history = History(8, NOW, 24, 6_000, mix=DEFAULT_MIX.scaled(0.15))
    return [message for _, _, message in history], history.truth.transactions


def sources_by_transaction(messages: list[Message]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for message in messages:
        if isinstance(message, FraudLabel):
            found[message.transaction_id].add(message.source)
    return found


def test_what_was_blocked_or_declined_is_never_disputed(past: Past) -> None:
    settled = {m.transaction_id for m in past[0] if isinstance(m, PaymentOutcome) and m.status == "settled"}
    blocked = {m.transaction_id for m in past[0] if isinstance(m, PurchaseRequested)} - settled
    assert sum(past[1][one].is_fraud for one in blocked) > 50
    sources = sources_by_transaction(past[0])
    assert set().union(*(sources.get(one, set()) for one in blocked)) <= {"review"}


def test_abuse_never_becomes_a_chargeback_and_every_kind_of_fraud_does(past: Past) -> None:
    charged = Counter(
        past[1][one].pattern for one, sources in sources_by_transaction(past[0]).items() if "chargeback" in sources
    )
    assert {name for name, pattern in PATTERNS.items() if pattern.kind == "fraud"} <= charged.keys() | {
        "resale-triangulation"  # begins too late for the labels of this past
    }
    assert not charged.keys() & {name for name, pattern in PATTERNS.items() if pattern.kind == "abuse"}


def test_some_fraud_is_never_reported(past: Past) -> None:
    settled = {m.transaction_id for m in past[0] if isinstance(m, PaymentOutcome) and m.status == "settled"}
    old = {one for one in settled if past[1][one].is_fraud and past[1][one].occurred_us < to_us(NOW) - 16 * 3_600e6}
    disputed = {one for one, sources in sources_by_transaction(past[0]).items() if "chargeback" in sources}
    assert 0.05 < 1 - len(old & disputed) / len(old) < 0.5
