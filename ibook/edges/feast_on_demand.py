"""What Feast's on-demand views run: stored states and an instant in, the numbers of `ibook.features` out.

Feast stores the source text of an on-demand view and runs it in the reader's process, so that text imports from here
and stays two lines long. Columns are lists, one value per row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ibook.clock import from_us
from ibook.declarations import NAN, EntityFeatures
from ibook.edges.feast_views import STATE_VIEWS
from ibook.entities import EntityName
from ibook.features import ENTITY_FEATURES, REQUEST_FEATURES, request_features
from ibook.messages import PurchaseRequested
from ibook.windows import decode_state

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


def entity_columns(entity: EntityName, inputs: Columns) -> dict[str, list[float]]:
    """The features of an entity, finished as of each row's instant; what is not known is NaN.

    No state counts as nothing seen, one of older declarations for what these declare too, as for the verdict worker.
    """
    features = ENTITY_FEATURES[entity]
    (column,) = STATE_VIEWS[entity].columns
    rows = [_finish(features, state, as_of) for state, as_of in zip(inputs[column], inputs[AS_OF], strict=True)]
    return {name: [row[index] for row in rows] for index, name in enumerate(features.names)}


def _finish(features: EntityFeatures, payload: Any, as_of_us: int) -> list[float]:
    try:
        state = decode_state(payload) if isinstance(payload, bytes) else None
    except msgspec.DecodeError:
        return [NAN] * len(features.names)  # Feast tries a view on sample bytes before it registers it
    return features.compute(state, int(as_of_us))


def purchase_columns(inputs: Columns) -> dict[str, list[float]]:
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
