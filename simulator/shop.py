"""The shop: one purchase after another through verdict, payment, settlement and what follows.

asked -> (verdict or the shop's own rule) -> authorised -> settled -> refunded, or turned down on the way.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from ibook import messages as m
from ibook import topics
from ibook.clock import from_us
from simulator.backoffice import BackOffice, what_was_ordered
from simulator.catalogue import CURRENCY, DAY_US, Event
from simulator.engine import Await, Engine
from simulator.feed import Feed
from simulator.inventory import Inventory
from simulator.truth import Truth
from simulator.visits import Intent, PaymentResult

Span = tuple[float, float]
"""Shortest and longest, in seconds; drawn evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopRules:
    """What the shop does, and how long it takes. Durations are in seconds."""

    patience: float = 5.0
    """How long it waits for a verdict before it decides by its own rule …"""
    small_amount_minor: int = 5_000
    """… which approves up to this amount and holds what costs more until a verdict comes."""
    authorise: Span = (0.1, 0.6)
    settle: Span = (1.0, 3.0)
    review: Span = (2.0, 6.0)
    challenge: Span = (0.5, 3.0)
    reviewer_errs: float = 0.1
    refund_days: Span = (0.5, 20.0)
    """Days from settlement to refund, for who changes plans …"""
    late_refund_days: Span = (0.5, 3.0)
    """… and days from refund to the event's start, for who waits until it is near. Both assumed."""
    label_day_seconds: float = 0.5
    """Time compression: how long a day of label or refund delay takes."""
    inventory_interval: float = 1.0


State = Literal["asked", "held", "in_review", "challenged", "authorised", "settled", "closed"]


@dataclass(slots=True)
class Purchase:
    """A purchase on its way."""

    request: m.PurchaseRequested
    intent: Intent
    resume: Callable[["Paid"], None]
    state: State = "asked"


@dataclass(frozen=True, slots=True)
class Paid:
    """What the buyer is told at the end of the checkout."""

    result: PaymentResult
    transaction_id: str = ""


@dataclass(slots=True)
class Book:
    """Sales of one event: settled purchases, their tickets and revenue, less what was refunded."""

    sales: int = 0
    tickets: int = 0
    revenue_minor: int = 0


@dataclass(slots=True)
class Ledger:
    """What the shop has counted since it opened."""

    counts: Counter[str] = field(default_factory=Counter)
    books: dict[str, Book] = field(default_factory=dict)


class Shop:
    """Obeys verdicts: the first one counts. `asked` is called with each purchase as it is published."""

    def __init__(
        self, engine: Engine, feed: Feed, inventory: Inventory, truth: Truth, rng: Random, rules: ShopRules,
        asked: Callable[[m.PurchaseRequested], None],
    ) -> None:  # fmt: skip
        self._engine, self._feed, self._inventory, self._truth = engine, feed, inventory, truth
        self._rng, self._rules, self._asked = rng, rules, asked
        self._office = BackOffice(engine, feed, rng, rules.label_day_seconds)
        self._open: dict[str, Purchase] = {}
        self.ledger = Ledger()
        self.is_selling = True
        self.unsettled = 0
        """Purchases that are neither settled nor turned down yet."""

    def is_undecided(self, transaction_id: str) -> bool:
        """Whether a purchase is neither settled nor turned down yet."""
        purchase = self._open.get(transaction_id)
        return purchase is not None and purchase.state != "settled"

    def announce(self, events: tuple[Event, ...]) -> None:
        """Publish what is on sale and how many seats are left."""
        for event in events:
            listing = event.listing(self._feed.ids.next(), self._engine.now_us)
            self._feed.send(topics.EVENT_LISTINGS, event.event_id, listing)
            self._inventory.announce(event.event_id)

    def pay(self, intent: Intent) -> Await:
        """To be yielded: comes back with a `Paid`."""

        def ask(resume: Callable[[Paid], None]) -> None:
            if not self.is_selling:
                resume(Paid("refused"))
            elif intent.hold_id is None and not self._inventory.take(intent.event.event_id, intent.n_tickets):
                resume(Paid("sold_out"))
            else:
                self._request(intent, resume)

        return ask

    def on_verdict(self, transaction_id: str, action: m.Action) -> None:
        """Obey a verdict, unless the purchase is unknown or was decided before."""
        purchase = self._open.get(transaction_id)
        if purchase is None or purchase.state not in ("asked", "held"):
            return
        self._obey(purchase, action)

    # ----------------------------------------------------------------------------------------------- deciding
    def _request(self, intent: Intent, resume: Callable[[Paid], None]) -> None:
        request = self._write_request(intent)
        purchase = Purchase(request, intent, resume)
        self._open[request.transaction_id] = purchase
        self.unsettled += 1
        self._truth.record(request.transaction_id, self._engine.now_us, intent.nature)
        self.ledger.counts["purchases"] += 1
        self._engine.after(self._rules.patience, lambda: self._lose_patience(purchase))
        self._feed.send(topics.TICKET_PURCHASES, request.card_id, request)
        self._asked(request)

    def _write_request(self, intent: Intent) -> m.PurchaseRequested:
        visitor, card = intent.visitor, intent.card
        return m.PurchaseRequested(
            **self._feed.stamp(), transaction_id=self._feed.ids.next(), user_id=visitor.user.user_id,
            card_id=card.card_id, device_id=visitor.device_id, ip=visitor.address.ip, event_id=intent.event.event_id,
            amount_minor=intent.offer.price_minor * intent.n_tickets, currency=CURRENCY, n_tickets=intent.n_tickets,
            quote_id=intent.offer.quote_id, ticket_type=intent.ticket.name, bin=card.bin, card_country=card.country,
            ip_country=visitor.address.country, email_domain=visitor.user.email_domain,
            account_opened_at=from_us(visitor.user.opened_us), promoter_id=intent.event.promoter_id,
            category=intent.event.category, starts_at=from_us(intent.event.starts_us),
            list_price_minor=intent.ticket.list_price_minor,
        )  # fmt: skip

    def _lose_patience(self, purchase: Purchase) -> None:
        if purchase.state != "asked":
            return
        if purchase.request.amount_minor <= self._rules.small_amount_minor:
            self.ledger.counts["approved_without_verdict"] += 1
            self._obey(purchase, "approve")
        else:
            self.ledger.counts["held_without_verdict"] += 1
            purchase.state = "held"

    def _obey(self, purchase: Purchase, action: m.Action) -> None:
        if action == "approve":
            self._later(purchase, "authorised", self._rules.authorise, self._authorise)
        elif action == "review":
            self._later(purchase, "in_review", self._rules.review, self._review)
        elif action == "challenge":
            self._later(purchase, "challenged", self._rules.challenge, self._challenge)
        else:
            self._turn_down(purchase, "refused")

    def _review(self, purchase: Purchase) -> None:
        nature = purchase.intent.nature
        suspected = (nature.is_fraud and nature.is_evident) != (self._rng.random() < self._rules.reviewer_errs)
        self._office.reviewed(purchase.request, is_fraud=suspected)
        self.ledger.counts["rejected_in_review" if suspected else "released_from_review"] += 1
        if suspected:
            self._turn_down(purchase, "refused")
        else:
            self._authorise(purchase)

    def _challenge(self, purchase: Purchase) -> None:
        passed = purchase.intent.nature.passes_challenge
        self.ledger.counts["challenges_passed" if passed else "challenges_failed"] += 1
        if passed:
            self._authorise(purchase)
        else:
            self._turn_down(purchase, "refused")

    # ------------------------------------------------------------------------------------------------- paying
    def _authorise(self, purchase: Purchase) -> None:
        code = purchase.intent.nature.decline_code
        if code:
            self._publish(purchase, "declined", code)
            self._turn_down(purchase, "declined")
            return
        self._publish(purchase, "authorised")
        self._later(purchase, "authorised", self._rules.settle, self._settle)
        purchase.resume(Paid("paid", purchase.request.transaction_id))

    def _turn_down(self, purchase: Purchase, result: Literal["declined", "refused"]) -> None:
        self.ledger.counts[result] += 1
        self.unsettled -= 1
        self._close(purchase)
        if purchase.intent.hold_id is None:
            self._inventory.put_back(purchase.request.event_id, purchase.request.n_tickets)
        purchase.resume(Paid(result))

    def _settle(self, purchase: Purchase) -> None:
        self._publish(purchase, "settled")
        self.unsettled -= 1
        self._book(purchase.request, +1)
        nature = purchase.intent.nature
        if nature.disputes:
            self._office.expect_dispute(purchase.request)
        if nature.refunds:
            seconds = self._days_to_refund(purchase.intent) * self._rules.label_day_seconds
            self._later(purchase, "settled", (seconds, seconds), self._refund)
        else:
            self._close(purchase)

    def _days_to_refund(self, intent: Intent) -> float:
        """Days the buyer keeps the tickets; nobody is paid back once the event has begun."""
        days_to_start = (intent.event.starts_us - self._engine.now_us) / DAY_US
        days = self._rng.uniform(*self._rules.refund_days)
        if intent.nature.refunds_late:
            days = days_to_start - self._rng.uniform(*self._rules.late_refund_days)
        return max(0.0, min(days, days_to_start))

    def _refund(self, purchase: Purchase) -> None:
        self._publish(purchase, "refunded", "customer_request")
        self._book(purchase.request, -1)
        self._inventory.put_back(purchase.request.event_id, purchase.request.n_tickets)
        self._close(purchase)

    # ------------------------------------------------------------------------------------------------ details
    def _later(self, purchase: Purchase, state: State, span: Span, what: Callable[[Purchase], None]) -> None:
        purchase.state = state
        self._engine.after(self._rng.uniform(*span), lambda: what(purchase))

    def _close(self, purchase: Purchase) -> None:
        purchase.state = "closed"
        self._open.pop(purchase.request.transaction_id, None)

    def _book(self, request: m.PurchaseRequested, sign: Literal[1, -1]) -> None:
        self.ledger.counts["settled" if sign > 0 else "refunded"] += 1
        book = self.ledger.books.setdefault(request.event_id, Book())
        book.sales += sign
        book.tickets += sign * request.n_tickets
        book.revenue_minor += sign * request.amount_minor

    def _publish(
        self, purchase: Purchase, status: Literal["authorised", "declined", "settled", "refunded"], reason: str = ""
    ) -> None:
        request = purchase.request
        outcome = m.PaymentOutcome(**self._feed.stamp(), **what_was_ordered(request), status=status, reason=reason)
        self._feed.send(topics.PAYMENT_OUTCOMES, request.transaction_id, outcome)
