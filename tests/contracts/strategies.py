"""Arbitrary values of a message type, built from what msgspec knows of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from ibook.messages import ArmProbabilities, ExperimentShares, TicketType

INT64 = 2**63 - 1
ZONES = st.sampled_from([UTC, *(timezone(timedelta(minutes=minutes)) for minutes in (-720, -210, 60, 345, 840))])
TEXT = st.characters(exclude_categories=["Cs"])
"""Lone surrogates can't be written as UTF-8."""
PLAIN: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.NoneType: st.none(),
    inspect.BoolType: st.booleans(),
    inspect.BytesType: st.binary(max_size=200),
    # A day from either end of what event times may be, so that every zone can say it.
    inspect.DateTimeType: st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=ZONES),  # noqa: DTZ001
}


def values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    """Valid values of a type. Raises KeyError for a type no message has had yet."""
    match type_:
        case inspect.IntType():
            return st.integers(-INT64 if type_.ge is None else type_.ge, INT64 if type_.le is None else type_.le)
        case inspect.FloatType():
            return _floats(type_)
        case inspect.StrType():
            return _texts(type_)
        case inspect.LiteralType():
            return st.sampled_from(type_.values)
        case inspect.UnionType():
            return st.one_of([values(each) for each in type_.types])
        case inspect.ListType():
            longest = 4 if type_.max_length is None else min(4, type_.max_length)
            named = isinstance(type_.item_type, inspect.StructType) and type_.item_type.cls is TicketType
            return st.lists(
                values(type_.item_type), min_size=type_.min_length or 0, max_size=longest,
                unique_by=(lambda ticket: ticket.name) if named else None,
            )  # fmt: skip
        case inspect.TupleType():
            return st.tuples(*(values(each) for each in type_.item_types))
        case inspect.StructType():
            return messages(type_.cls)
        case _:
            return PLAIN[type(type_)]


@cache
def messages(struct: type) -> st.SearchStrategy[Any]:
    """Valid messages of a type, or valid parts of one."""
    if struct in SPECIAL:
        return SPECIAL[struct]()
    type_ = inspect.type_info(struct)
    assert isinstance(type_, inspect.StructType)
    required = {field.name: values(field.type) for field in type_.fields if field.required}
    optional = {field.name: values(field.type) for field in type_.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: struct(**fields))


def _floats(type_: inspect.FloatType) -> st.SearchStrategy[float]:
    low = type_.ge if type_.gt is None else type_.gt
    return st.floats(low, type_.le, exclude_min=type_.gt is not None, allow_nan=False, allow_infinity=False)


def _texts(type_: inspect.StrType) -> st.SearchStrategy[str]:
    if type_.pattern is not None:
        return st.from_regex(type_.pattern, fullmatch=True)
    return st.text(TEXT, min_size=type_.min_length or 0, max_size=type_.max_length or 200)


def _ticket_types() -> st.SearchStrategy[TicketType]:
    prices = st.lists(st.integers(1, 10**9), min_size=5, max_size=5).map(sorted)
    return st.builds(
        lambda name, bounds, published: TicketType(
            name=name, floor_minor=bounds[0], list_price_minor=bounds[2], cap_minor=bounds[4],
            published_low_minor=bounds[1] if published else None, published_high_minor=bounds[3] if published else None,
        ),
        _texts(inspect.StrType(min_length=1, max_length=128)),
        prices,
        st.booleans(),
    )  # fmt: skip


def _arms() -> st.SearchStrategy[ArmProbabilities]:
    share = st.floats(0, 1)
    per_arm: list[Callable[[int], st.SearchStrategy[Any]]] = [
        lambda n: st.lists(st.integers(0, 10**11), min_size=n, max_size=n),
        lambda n: st.lists(st.integers(1, 1000), min_size=n, max_size=n).map(_normalised),
        lambda n: st.lists(share, min_size=n, max_size=n),
        lambda n: st.lists(st.tuples(share, share), min_size=n, max_size=n),
    ]
    names = ("prices_minor", "probabilities", "expected_sales", "interval")
    arms = st.integers(1, 5).flatmap(
        lambda n: st.fixed_dictionaries({name: make(n) for name, make in zip(names, per_arm, strict=True)})
    )
    return st.builds(
        lambda ticket, price, fields: ArmProbabilities(ticket_type=ticket, list_price_minor=price, **fields),
        _texts(inspect.StrType(min_length=1, max_length=128)),
        st.integers(1, 10**9),
        arms,
    )


def _normalised(weights: list[int]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def _shares() -> st.SearchStrategy[ExperimentShares]:
    parts = st.lists(st.integers(1, 1000), min_size=3, max_size=3).map(_normalised)
    return parts.map(lambda each: ExperimentShares(list_price=each[0], rules=each[1], bandit=each[2]))


SPECIAL: dict[type, Callable[[], st.SearchStrategy[Any]]] = {
    TicketType: _ticket_types, ArmProbabilities: _arms, ExperimentShares: _shares,
}  # fmt: skip
"""Structs whose fields must agree with one another."""
