"""What a run has to remember for its record: purchases as they were asked for, and what was paid."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ibook.messages import Action, Message, PaymentOutcome, Posture, PurchaseRequested
from simulator.catalogue import Event
from simulator.record import EventRecord, Outcome, PriceShown, PurchaseRecord, TicketRecord
from simulator.simulation import Simulation
from simulator.truth import TransactionTruth

FINAL: tuple[Outcome, ...] = ("settled", "refunded", "declined")
"""What payment outcomes say of how a purchase ended, so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The first verdict of a purchase, as far as it is known."""

    action: Action | None = None
    score: float | None = None
    posture: Posture | None = None
    latency_ms: float | None = None


class Chronicle:
    """Grows by a purchase's message with each purchase: for runs that are judged, not for a shop that stays open."""

    def __init__(self) -> None:
        self.requests: dict[str, PurchaseRequested] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.remaining_before: dict[str, int] = {}

    def opened(self, simulation: Simulation) -> None:
        """The doors open: remember the seats there are."""
        self.remaining_before = dict(simulation.inventory.remaining)

    def note(self, message: Message) -> None:
        """A message leaves the shop."""
        if isinstance(message, PurchaseRequested):
            self.requests[message.transaction_id] = message
        elif isinstance(message, PaymentOutcome) and message.status in FINAL:
            self.outcomes[message.transaction_id] = message.status

    # ------------------------------------------------------------------------------------------------ the record
    def purchases(self, simulation: Simulation, decided: Callable[[str], Decided]) -> tuple[PurchaseRecord, ...]:
        """Every purchase with its truth, verdict and end."""
        truth = simulation.truth.transactions
        return tuple(
            _purchase(request, truth[name], decided(name), self._outcome(simulation, name))
            for name, request in self.requests.items()
        )

    def prices(self, simulation: Simulation) -> tuple[PriceShown, ...]:
        """Every price that was shown, and what was bought at it and kept."""
        bought, tickets = Counter[tuple[str, str, int]](), Counter[tuple[str, str, int]]()
        for name, request in self.requests.items():
            if self.outcomes.get(name) == "settled":
                at = (request.event_id, request.ticket_type, request.amount_minor // request.n_tickets)
                bought[at] += 1
                tickets[at] += request.n_tickets
        return tuple(
            PriceShown(event_id=at[0], ticket_type=at[1], price_minor=at[2], shown=shown, bought=bought[at],
                       tickets=tickets[at])
            for at, shown in sorted(simulation.storefront.shown_at.items())
        )  # fmt: skip

    def events(self, simulation: Simulation) -> tuple[EventRecord, ...]:
        """Every event with its seats before and after."""
        after = simulation.inventory.remaining
        return tuple(
            _event(event, self.remaining_before[event.event_id], after[event.event_id])
            for event in simulation.world.events
        )

    def _outcome(self, simulation: Simulation, transaction_id: str) -> Outcome:
        if simulation.shop.is_undecided(transaction_id):
            return "open"
        return self.outcomes.get(transaction_id, "refused")


def _purchase(
    request: PurchaseRequested, truth: TransactionTruth, decided: Decided, outcome: Outcome
) -> PurchaseRecord:
    return PurchaseRecord(
        transaction_id=request.transaction_id, occurred_us=truth.occurred_us, user_id=request.user_id,
        card_id=request.card_id, event_id=request.event_id, ticket_type=request.ticket_type,
        amount_minor=request.amount_minor, list_price_minor=request.list_price_minor or 0,
        n_tickets=request.n_tickets, pattern=truth.pattern, is_fraud=truth.is_fraud, is_abuse=truth.is_abuse,
        look_alike=truth.look_alike, attack=truth.attack, action=decided.action, score=decided.score,
        posture=decided.posture, latency_ms=decided.latency_ms, outcome=outcome,
    )  # fmt: skip


def _event(event: Event, before: int, after: int) -> EventRecord:
    return EventRecord(
        event_id=event.event_id, name=event.name, category=event.category, capacity=event.capacity,
        remaining_before=before, remaining_after=after,
        tickets=tuple(
            TicketRecord(name=t.name, list_price_minor=t.list_price_minor, floor_minor=t.floor_minor,
                         cap_minor=t.cap_minor)
            for t in event.tickets
        ),
    )  # fmt: skip
