"""Request and response bodies of the price API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ibook.pricing import Source

Id = Annotated[str, Field(min_length=1, max_length=128)]


_FOR_STAFF = (
    "For the shop's staff, not for buyers: it may say how many seats are left and how many tickets are wanted. Whoever "
    "has the scope of this request reads it."
)


class QuoteRequest(BaseModel):
    """A price is about to be shown to a buyer."""

    model_config = ConfigDict(extra="forbid")

    event_id: Id
    ticket_type: Id
    idempotency_key: Id | None = Field(
        default=None,
        description="A repeated request with the same key gets the same quote while it is valid. Another event, ticket "
        "type, buyer or API key with the same idempotency key is another request.",
    )
    buyer: Id | None = Field(
        default=None,
        description="Who is shown the price: the account's id, as `user_id` of a purchase has it, or what stands for a "
        "visitor without one. It is kept as a pseudonym, and bounds how much of one buyer prices learn from.",
    )


class ExpectedSales(BaseModel):
    """Expected share of offers at this price that sell, with its 95 % interval."""

    mean: float
    low: float
    high: float


class ExpectedRevenue(BaseModel):
    """Expected revenue of an offer at this price, a ticket each, in minor units, with its 95 % interval."""

    mean: float
    low: float
    high: float


class QuoteResponse(BaseModel):
    """A signed price. Send `quote_id` along with the purchase."""

    quote_id: str
    event_id: str
    ticket_type: str
    price_minor: int
    currency: str
    expires_at: datetime
    expected_sales: ExpectedSales
    expected_revenue: ExpectedRevenue
    explanation: str = Field(description=_FOR_STAFF)
    source: Source = Field(
        description="`policy`: learned. `list_price`: no policy is known, or to compare with. `rules`: by seats and "
        "time, since the policy is too old, or to compare with. `frozen`: list price by order."
    )


class TicketPrice(BaseModel):
    """The price of one ticket type in the current slot."""

    ticket_type: str
    price_minor: int
    list_price_minor: int
    expected_sales: ExpectedSales
    expected_revenue: ExpectedRevenue
    explanation: str = Field(description=_FOR_STAFF)
    source: Source


class EventPrices(BaseModel):
    """The prices of an event, good until the slot ends. To show one to a buyer ask for a quote."""

    event_id: str
    currency: str
    slot_ends_at: datetime
    policy_version: int = Field(
        default=0, description="The newest price policy known of the event, in force from its first slot on; 0: none."
    )
    prices: list[TicketPrice]


class FieldProblem(BaseModel):
    """One thing that is wrong with a request."""

    at: str = Field(description="Where: `body.event_id`, `query.ticket_type`.")
    reason: str


class Problem(BaseModel):
    """Why a request was refused or failed (RFC 9457)."""

    title: str
    status: int
    detail: str = Field(description="What went wrong, in one sentence.")
    errors: list[FieldProblem] = Field(default=[], description="Of a wrong request: each thing that is wrong with it.")


class Health(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether prices can be given, and what is worse than usual."""

    status: Literal["ready", "not ready"]
    listings: int
    policies: int
    journal_waiting: int = Field(description="Quotes on disk that Kafka has not acknowledged yet.")
    scores: Literal["off", "not asked for", "getting ready", "ready"] = Field(
        description="Whether purchases can be scored here; prices do not depend on it."
    )
    degraded: list[str]
