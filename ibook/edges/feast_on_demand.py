"""What Feast's on-demand views run: stored states and an instant in, the numbers of `ibook.features` out.

Feast stores the source text of an on-demand view and runs it in the reader's process, so that text imports from here
and stays two lines long. Columns are lists, one value per row.
"""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import msgspec

from ibook.clock import from_us
from ibook.declarations import EntityFeatures
from ibook.edges.feast_views import STATE_VIEWS
from ibook.entities import EntityName
from ibook.features import ENTITY_FEATURES, REQUEST_FEATURES, request_features
from ibook.messages import PurchaseRequested
from ibook.states import decode_state

AS_OF = "as_of"
"""Request column: the instant, in microseconds since the epoch."""
PURCHASE_COLUMNS: dict[str, type[int] | type[str]] = {
    "purchase_amount_minor": int,
    "purchase_n_tickets": int,
    "purchase_account_opened_us": int,
    "purchase_card_country": str,
    "purchase_ip_country": str,
    "purchase_starts_us": int,
    "purchase_list_price_minor": int,
}
"""Request columns that `REQUEST_FEATURES` are computed from, with `AS_OF` as the time of the purchase."""

Columns = Mapping[str, Sequence[Any]]
Finished = dict[str, list[Any]]

EVENT_HISTORY: dict[str, type[float]] = {
    "total_tickets_sold": float, "avg_ticket_price": float, "promoter_success_rate": float,
}  # fmt: skip
"""Columns of `event_historical_metrics`."""
USER_BEHAVIOR: dict[str, type[float] | type[str]] = {
    "lifetime_purchases": float, "fraud_risk_score": float, "preferred_category": str,
}  # fmt: skip
"""Columns of `user_purchase_behavior`."""
PPM = 1_000_000


def entity_columns(entity: EntityName, inputs: Columns) -> Finished:
    """The features of an entity, finished as of each row's instant; what is not known is NaN.

    No state counts as nothing seen, one of older declarations for what these declare too, as for the verdict worker.
    """
    names, rows = ENTITY_FEATURES[entity].names, _rows(entity, inputs)
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _rows(entity: EntityName, inputs: Columns) -> list[list[float]]:
    """The features of an entity, one list per row."""
    (column,) = STATE_VIEWS[entity].columns
    features = ENTITY_FEATURES[entity]
    return [_finish(features, state, as_of) for state, as_of in zip(inputs[column], inputs[AS_OF], strict=True)]


def _finish(features: EntityFeatures, payload: Any, as_of_us: int) -> list[float]:
    try:
        state = features.layout.adopt(decode_state(payload)) if isinstance(payload, bytes) else None
    except msgspec.DecodeError:
        return [nan] * len(features.names)  # Feast tries a view on sample bytes before it registers it
    return features.compute(state, int(as_of_us))


def event_history_columns(inputs: Columns) -> Finished:
    """The columns of `EVENT_HISTORY`, from the states of event and promoter.

    Tickets are those of settled payments, and so is the average price, in minor units of the event's currency: NaN
    when none was sold. The success rate is the share of the promoter's events that we saw on sale of which at least
    80 % of the seats were sold: NaN when we saw none.
    """
    events, promoters = entity_columns("event", inputs), entity_columns("promoter", inputs)
    tickets = events["event_tickets_sold_lifetime"]
    prices = [
        revenue / sold if sold else nan
        for revenue, sold in zip(events["event_revenue_minor_lifetime"], tickets, strict=True)
    ]
    return dict(zip(EVENT_HISTORY, (tickets, prices, promoters["promoter_success_rate_lifetime"]), strict=True))


def user_behavior_columns(inputs: Columns) -> Finished:
    """The columns of `USER_BEHAVIOR`, from the state of a user.

    Purchases are settled payments. The risk score is the mean of the scores of the last 30 days, each weighing half as
    much per week of age: NaN when there are none. The category is the one bought most often, the first in the alphabet
    of equals: "" when nothing was bought.
    """
    users = entity_columns("user", inputs)
    risks = [ppm / PPM for ppm in users["user_risk_ppm_30d"]]
    counts = zip(*(users[name] for name in CATEGORIES.values()), strict=True)
    preferred = [_preferred(dict(zip(CATEGORIES, row, strict=True))) for row in counts]
    return dict(zip(USER_BEHAVIOR, (users["user_purchases_lifetime"], risks, preferred), strict=True))


CATEGORIES = {
    str(feature.where[0].value): feature.names()[0]
    for feature in ENTITY_FEATURES["user"].declared
    if feature.where and feature.where[0].field == "category"
}
"""Category of events -> the feature that counts a user's purchases of it."""


def _preferred(counts: Mapping[str, float]) -> str:
    """The category with the highest count; one that is not known (NaN) counts as 0.

    >>> _preferred({"sports": 2.0, "concerts": 2.0, "family": 0.0}), _preferred({"sports": 0.0, "family": nan})
    ('concerts', '')
    """
    bought = [(-count, category) for category, count in counts.items() if count > 0]
    return min(bought)[1] if bought else ""


def purchase_columns(inputs: Columns) -> Finished:
    """The features that need nothing but the purchase itself."""
    requests = zip(inputs[AS_OF], *(inputs[name] for name in PURCHASE_COLUMNS), strict=True)
    rows = [request_features(_purchase(*request)) for request in requests]
    return {name: [row[index] for row in rows] for index, name in enumerate(REQUEST_FEATURES)}


def _purchase(
    as_of_us: int, amount_minor: int, n_tickets: int, account_opened_us: int, card_country: str, ip_country: str,
    starts_us: int | None, list_price_minor: int | None,
) -> PurchaseRequested:  # fmt: skip
    """A purchase with the fields that count, 0 for those it lacks; its ids lead to states, which other views read."""
    return PurchaseRequested(
        message_id="", occurred_at=from_us(int(as_of_us)), transaction_id="", user_id="", card_id="", device_id="",
        ip="", event_id="", amount_minor=int(amount_minor), currency="", n_tickets=int(n_tickets), ticket_type="",
        bin="", card_country=card_country, ip_country=ip_country, email_domain="",
        account_opened_at=from_us(int(account_opened_us)), starts_at=from_us(int(starts_us)) if starts_us else None,
        list_price_minor=int(list_price_minor) if list_price_minor else None,
    )  # fmt: skip
