"""A past of the simulator, written by hand."""

from datetime import UTC, datetime, timedelta

from ibook.clock import to_us
from ibook.messages import EventListed, FraudLabel, PaymentOutcome, PurchaseRequested, TicketType
from simulator.backoffice import what_was_ordered
from simulator.profile.observed import Observed
from simulator.truth import TransactionTruth

BEGIN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Shop:
    """Writes a past by hand. Times are days since `BEGIN`, label days are real ones."""

    def __init__(self) -> None:
        self.truth: dict[str, TransactionTruth] = {}
        self.observed = Observed(truth=self.truth)

    def list_event(self, event: str, *, on_sale: float, starts: float) -> None:
        kind = TicketType(name="standard", list_price_minor=5000, floor_minor=3000, cap_minor=8000)
        self.observed.see(EventListed(
            message_id=f"l/{event}", occurred_at=BEGIN, event_id=event, name=event, category="sports", promoter_id="p",
            venue="v", capacity=100, on_sale_at=BEGIN + on_sale * DAY, starts_at=BEGIN + starts * DAY, currency="EUR",
            ticket_types=[kind],
        ))  # fmt: skip

    def buy(
        self, day: float, *, user: str = "u", event: str = "e", starts: float = 100.0, tickets: int = 2,
        pattern: str = "honest", attack: int | None = None, category: str = "sports", status: str = "settled",
    ) -> PurchaseRequested:  # fmt: skip
        number = len(self.truth)
        is_fraud = pattern in ("card-testing", "stolen-card", "account-takeover", "friendly-fraud")
        at = BEGIN + day * DAY
        purchase = PurchaseRequested(
            message_id=f"m{number}", occurred_at=at, transaction_id=f"t{number}", user_id=user, card_id=f"c/{user}",
            device_id=f"d/{user}", ip="1.2.3.4", event_id=event, amount_minor=5000 * tickets, currency="EUR",
            n_tickets=tickets, ticket_type="standard", bin="412345", card_country="DE", ip_country="DE",
            email_domain="example.org", account_opened_at=BEGIN - 30 * DAY, category=category,  # type: ignore[arg-type]
            starts_at=BEGIN + starts * DAY, list_price_minor=5000, promoter_id="p",
        )  # fmt: skip
        self.truth[purchase.transaction_id] = TransactionTruth(
            transaction_id=purchase.transaction_id, occurred_us=to_us(at), is_fraud=is_fraud, pattern=pattern,
            look_alike="", attack=attack, is_abuse=pattern == "scalper-ring",
        )  # fmt: skip
        self.observed.see(purchase)
        for each in ("declined",) if status == "declined" else ("authorised", status):
            self.observed.see(PaymentOutcome(
                message_id=f"{purchase.transaction_id}/{each}", occurred_at=at + timedelta(seconds=2),
                **what_was_ordered(purchase), status=each,  # type: ignore[arg-type]
            ))  # fmt: skip
        return purchase

    def label(self, purchase: PurchaseRequested, source: str, after_days: float, *, is_fraud: bool = True) -> None:
        self.observed.see(FraudLabel(
            message_id=f"{purchase.transaction_id}/{source}", occurred_at=purchase.occurred_at + after_days * DAY,
            **what_was_ordered(purchase), source=source, is_fraud=is_fraud,  # type: ignore[arg-type]
            effective_at=purchase.occurred_at,
        ))  # fmt: skip
