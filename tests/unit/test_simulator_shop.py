"""The shop's rules: it obeys the first verdict, helps itself when none comes, and never sells what it has not."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest

from ibook.clock import to_us
from ibook.messages import (
    Action,
    EventListed,
    FraudLabel,
    InventoryChanged,
    Message,
    PaymentOutcome,
    PurchaseRequested,
    SeatsHeld,
)  # fmt: skip
from ibook.topics import Topic
from simulator.engine import Engine, Process
from simulator.feed import Feed
from simulator.ids import Ids
from simulator.inventory import Inventory
from simulator.shop import Paid, Shop, ShopRules
from simulator.storefront import ListPrices, Storefront
from simulator.truth import Truth
from simulator.visits import Intent, Nature, Offer, Visitor
from simulator.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORLD = World(5, NOW)
HONEST = Nature()


class Stage:
    """A shop with one kind of customer, and everything it publishes."""

    def __init__(self, rules: ShopRules | None = None, seats: int = 1000) -> None:
        self.events = tuple(replace(event, remaining=seats) for event in WORLD.events)
        self.engine = Engine(to_us(NOW))
        self.published: list[Message] = []
        self.keys: list[tuple[Topic, str]] = []
        self.feed = Feed(self.engine, Ids("stage"), self._write)
        self.inventory = Inventory(self.events, self.engine, self.feed, interval_seconds=1.0)
        self.front = Storefront(self.feed, self.inventory, ListPrices())
        self.asked: list[PurchaseRequested] = []
        self.truth = Truth(WORLD)
        self.shop = Shop(
            self.engine, self.feed, self.inventory, self.truth, Random(1), rules or ShopRules(), self.asked.append
        )
        self.answers: list[Paid] = []

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        self.published.append(message)
        self.keys.append((topic, key))

    def intent(self, nature: Nature = HONEST, *, price_minor: int = 2000, n_tickets: int = 2) -> Intent:
        household = WORLD.people.household(1)
        user = household.users[0]
        event = self.events[0]
        return Intent(
            visitor=Visitor(user, user.device_id, household.home), card=user.cards[0], event=event,
            ticket=event.tickets[0], n_tickets=n_tickets, offer=Offer(price_minor), nature=nature,
        )  # fmt: skip

    def buy(self, intent: Intent) -> PurchaseRequested | None:
        def customer() -> Process:
            answer: Paid = yield self.shop.pay(intent)
            self.answers.append(answer)

        before = len(self.asked)
        self.engine.start(customer())
        self.after(0.001)
        return self.asked[before] if len(self.asked) > before else None

    def after(self, seconds: float) -> None:
        self.engine.run_until(self.engine.now_us + int(seconds * 1_000_000))

    def sold(self, nature: Nature = HONEST, *, action: Action = "approve", price_minor: int = 2000) -> list[str]:
        """Buy once under a verdict, wait until it is over: the outcomes."""
        purchase = self.buy(self.intent(nature, price_minor=price_minor))
        assert purchase is not None
        self.shop.on_verdict(purchase.transaction_id, action)
        self.after(60)
        return self.outcomes()

    def outcomes(self) -> list[str]:
        return [message.status for message in self.published if isinstance(message, PaymentOutcome)]

    def labels(self) -> list[tuple[str, bool]]:
        return [(m.source, m.is_fraud) for m in self.published if isinstance(m, FraudLabel)]

    @property
    def seats(self) -> int:
        return self.inventory.remaining[self.events[0].event_id]


def test_an_approved_purchase_is_authorised_and_settled() -> None:
    stage = Stage()
    assert stage.sold() == ["authorised", "settled"]
    assert stage.answers[0].result == "paid"
    assert stage.seats == 998
    book = stage.shop.ledger.books[stage.events[0].event_id]
    assert (book.sales, book.tickets, book.revenue_minor) == (1, 2, 4000)


def test_the_issuer_may_decline_what_was_approved() -> None:
    stage = Stage()
    assert stage.sold(Nature(decline_code="incorrect_cvc")) == ["declined"]
    assert stage.answers[0].result == "declined"
    assert stage.seats == 1000


def test_a_declined_purchase_never_reaches_the_issuer() -> None:
    stage = Stage()
    assert stage.sold(Nature(is_fraud=True, pattern="stolen-card", disputes=True), action="decline") == []
    assert stage.answers[0].result == "refused"
    assert stage.seats == 1000
    assert stage.labels() == []


def test_a_passed_challenge_is_paid_and_a_failed_one_is_not() -> None:
    assert Stage().sold(action="challenge") == ["authorised", "settled"]
    assert Stage().sold(Nature(is_fraud=True, passes_challenge=False), action="challenge") == []


def test_a_reviewer_releases_the_honest_and_rejects_fraud() -> None:
    sure = ShopRules(reviewer_errs=0.0)
    honest, fraud = Stage(sure), Stage(sure)
    assert honest.sold(action="review") == ["authorised", "settled"]
    assert honest.labels() == [("review", False)]
    assert fraud.sold(Nature(is_fraud=True), action="review") == []
    assert fraud.labels() == [("review", True)]


def test_a_reviewer_errs_sometimes() -> None:
    assert Stage(ShopRules(reviewer_errs=1.0)).sold(Nature(is_fraud=True), action="review")[0] == "authorised"


def test_the_first_verdict_counts() -> None:
    stage = Stage()
    purchase = stage.buy(stage.intent())
    assert purchase is not None
    stage.shop.on_verdict(purchase.transaction_id, "decline")
    stage.shop.on_verdict(purchase.transaction_id, "approve")
    stage.after(60)
    assert stage.outcomes() == []


def test_a_verdict_for_somebody_else_changes_nothing() -> None:
    stage = Stage()
    stage.shop.on_verdict("unheard-of", "approve")
    stage.after(60)
    assert stage.outcomes() == []


def test_without_a_verdict_small_amounts_are_approved() -> None:
    stage = Stage(ShopRules(patience=5.0, small_amount_minor=4000))
    stage.buy(stage.intent(price_minor=2000))
    stage.after(4.9)
    assert stage.outcomes() == []
    stage.after(10)
    assert stage.outcomes() == ["authorised", "settled"]
    assert stage.shop.ledger.counts["approved_without_verdict"] == 1


def test_without_a_verdict_large_amounts_wait_and_obey_a_late_one() -> None:
    stage = Stage(ShopRules(patience=5.0, small_amount_minor=3999))
    purchase = stage.buy(stage.intent(price_minor=2000))
    assert purchase is not None
    stage.after(30)
    assert stage.outcomes() == []
    assert stage.shop.unsettled == 1
    assert stage.shop.ledger.counts["held_without_verdict"] == 1
    stage.shop.on_verdict(purchase.transaction_id, "approve")
    stage.after(30)
    assert stage.outcomes() == ["authorised", "settled"]
    assert stage.shop.unsettled == 0


def test_a_refund_takes_the_sale_back_and_the_seats_too() -> None:
    stage = Stage()
    assert stage.sold(Nature(refunds=True)) == ["authorised", "settled", "refunded"]
    assert stage.shop.unsettled == 0
    assert stage.seats == 1000
    assert stage.shop.ledger.books[stage.events[0].event_id].revenue_minor == 0


@pytest.mark.parametrize("nature", [HONEST, Nature(decline_code="05"), Nature(refunds=True), Nature(is_evident=True)])
@pytest.mark.parametrize("action", ["approve", "review", "challenge", "decline"])
def test_what_is_unsettled_is_counted_down_once_whatever_becomes_of_it(nature: Nature, action: Action) -> None:
    stage = Stage()
    for _ in range(2):
        stage.buy(stage.intent(nature))
    assert stage.shop.unsettled == len(stage.asked) == 2
    stage.shop.on_verdict(stage.asked[0].transaction_id, action)
    stage.shop.on_verdict(stage.asked[0].transaction_id, "decline")
    stage.after(1.0)
    assert stage.shop.unsettled == sum(stage.shop.is_undecided(each.transaction_id) for each in stage.asked)
    stage.after(10_000.0)
    assert stage.shop.unsettled == sum(stage.shop.is_undecided(each.transaction_id) for each in stage.asked) <= 1


def test_a_dispute_becomes_a_chargeback_long_after_the_purchase() -> None:
    stage = Stage(ShopRules(label_day_seconds=100.0))
    stage.sold(Nature(is_fraud=True, disputes=True))
    stage.after(15_000)
    assert ("chargeback", True) in stage.labels()
    label = next(m for m in stage.published if isinstance(m, FraudLabel) and m.source == "chargeback")
    assert label.effective_at == stage.asked[0].occurred_at < label.occurred_at
    assert label.transaction_id == stage.asked[0].transaction_id


def test_outcomes_repeat_the_ids_of_their_purchase() -> None:
    stage = Stage()
    stage.sold()
    purchase = stage.asked[0]
    for outcome in (message for message in stage.published if isinstance(message, PaymentOutcome)):
        for name in ("transaction_id", "user_id", "card_id", "device_id", "ip", "event_id", "amount_minor", "quote_id"):
            assert getattr(outcome, name) == getattr(purchase, name)


def test_seats_that_are_not_there_are_not_sold() -> None:
    stage = Stage(seats=3)
    assert stage.buy(stage.intent()) is not None
    assert stage.buy(stage.intent()) is None
    assert stage.answers[-1].result == "sold_out"
    assert stage.seats == 1


def test_a_closed_shop_refuses() -> None:
    stage = Stage()
    stage.shop.is_selling = False
    assert stage.buy(stage.intent()) is None
    assert stage.answers[-1].result == "refused"


def test_held_seats_are_taken_once_and_come_back() -> None:
    stage = Stage()
    intent = stage.intent()
    hold_id = stage.front.hold(intent.visitor, intent.event, 2)
    assert stage.seats == 998
    purchase = stage.buy(replace(intent, hold_id=hold_id))
    assert purchase is not None and stage.seats == 998
    stage.shop.on_verdict(purchase.transaction_id, "decline")
    assert hold_id is not None
    stage.front.release(intent.visitor, intent.event, hold_id, 2)
    assert stage.seats == 1000
    assert any(isinstance(message, SeatsHeld) for message in stage.published)


def test_inventory_is_announced_at_most_once_a_second_and_ends_true() -> None:
    stage = Stage()
    for _ in range(50):
        stage.buy(stage.intent(n_tickets=1))
        stage.after(0.1)
    stage.after(2)
    levels = [m for m in stage.published if isinstance(m, InventoryChanged)]
    gaps = [(b.occurred_at - a.occurred_at).total_seconds() for a, b in pairwise(levels)]
    assert len(levels) > 3 and min(gaps) >= 1.0
    assert levels[-1].remaining == stage.seats


def test_opening_announces_every_event_and_its_seats() -> None:
    stage = Stage()
    stage.shop.announce(stage.events)
    listed = [m for m in stage.published if isinstance(m, EventListed)]
    assert [m.event_id for m in listed] == [event.event_id for event in stage.events]
    assert sum(isinstance(m, InventoryChanged) for m in stage.published) == len(stage.events)
    assert all(key == getattr(m, topic.key) for (topic, key), m in zip(stage.keys, stage.published, strict=True))


@pytest.mark.parametrize("topic_muted", [True, False])
def test_a_muted_topic_gets_nothing(topic_muted: bool) -> None:
    stage = Stage()
    if topic_muted:
        stage.feed.muted.add("ticket-activity")
    stage.front.view(stage.intent().visitor, stage.events[0])
    assert len(stage.published) == (0 if topic_muted else 1)
