"""Request and response bodies of `POST /v1/fraud/scores`."""

from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from ibook.fraud import ScoreBand
from ibook.messages import Action, Posture, PurchaseRequested

MAX_ROWS = 500


class ScoreBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. Rows are read one by one later: a bad one is no reason to refuse the others."""

    purchases: list[msgspec.Raw]
    deadline_ms: float | None = None
    explain: bool = False


class Reason(BaseModel):
    """A code of the catalogue that speaks for fraud."""

    code: str
    contribution: float = Field(description="In log-odds; 0 for a rule.")
    rule: str = Field(description="The rule that names the code; empty when the model does.")


class Explanation(BaseModel):
    """What the platform's own evidence of such a verdict would hold. Not for buyers' eyes."""

    score: float | None = Field(description="Calibrated P(fraud); null in a posture without a model.")
    threshold: float | None
    rules: list[str]
    reasons: list[Reason] = Field(description="Of everything but an approval.")
    propensity: float
    explored: bool = Field(description="Approved at random against the score.")
    staleness_seconds: float | None
    features: dict[str, float | None]


class Score(BaseModel):
    """A purchase's verdict."""

    transaction_id: str
    action: Action
    score_band: ScoreBand
    posture: Posture
    model_version: str = Field(description="`none` when no model took part.")
    policy_version: str
    decided_at: datetime
    explanation: Explanation | None = None


class RowFault(BaseModel):
    """Why a row has no verdict."""

    reason: str = Field(
        description="`malformed`, `invalid`, `future`, `conflict` as for messages on Kafka; `deadline`: time was up; "
        "`unscorable`: our fault."
    )
    detail: str


class Unscored(BaseModel):
    """A row without a verdict; the others are not concerned."""

    transaction_id: str | None = Field(description="Where it can be read.")
    error: RowFault


class Scores(BaseModel):
    """One answer per row, in the order of the rows."""

    scores: list[Score | Unscored]


EXAMPLE_PURCHASE = {
    "type": "purchase_requested.v1", "message_id": "purchase-tx-1", "occurred_at": "2026-03-14T19:30:00Z",
    "transaction_id": "tx-1", "user_id": "user-4711", "card_id": "card-9c2e", "device_id": "device-a3f0",
    "ip": "203.0.113.7", "event_id": "event-rock-am-see", "ticket_type": "standing", "n_tickets": 2,
    "amount_minor": 11800, "currency": "EUR", "bin": "411111", "card_country": "DE", "ip_country": "DE",
    "email_domain": "example.org", "account_opened_at": "2023-06-01T08:00:00Z",
}  # fmt: skip


def openapi_body() -> dict[str, Any]:
    """The request body as OpenAPI describes it: a purchase is the message's own schema."""
    purchase = msgspec.json.schema(PurchaseRequested)["$defs"][PurchaseRequested.__name__]
    schema = {
        "type": "object",
        "required": ["purchases"],
        "additionalProperties": False,
        "properties": {
            "purchases": {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": purchase},
            "deadline_ms": {
                "type": "number", "exclusiveMinimum": 0,
                "description": "Milliseconds in which the answer is needed; what is not scored by then says so.",
            },
            "explain": {"type": "boolean", "default": False, "description": "Score, features and reasons, too."},
        },
    }  # fmt: skip
    examples = {"one": {"summary": "One purchase", "value": {"purchases": [EXAMPLE_PURCHASE], "deadline_ms": 100}}}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
    }
