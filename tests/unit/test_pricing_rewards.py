"""A quote's life gives rewards that add up, whatever is late, repeated, or taken back."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibook.clock import to_us
from ibook.codec import decode, encode
from ibook.identity_caps import CapRules, Counts, IdentityCaps, Tally
from ibook.messages import ClockTicked, PriceReward, QuoteIssued, QuoteJournal, QuoteSold, QuoteTakenBack
from ibook.rewards import (
    HORIZON_HALF_LIVES,
    MAX_UNDONE,
    EventSums,
    QuoteLife,
    RewardRules,
    due_us,
    fold,
    kind,
    note,
    outcome,
    pass_time,
    settle,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = RewardRules(grace_seconds=60, memory_seconds=3600, refund_seconds=86_400, caps=CapRules(sales=1))
HALF_LIFE = 86_400.0
ISSUED = QuoteIssued(
    message_id="q",
    occurred_at=START,
    quote_id="q",
    event_id="e",
    ticket_type="stalls",
    currency="GBP",
    price_minor=5000,
    slot=3,
    arm=1,
    propensity=0.4,
    policy_version=2,
    expires_at=START + timedelta(minutes=10),
)
LAPSE = START + timedelta(minutes=11)


def sold(transaction: str = "t", minutes: float = 5) -> QuoteSold:
    return QuoteSold(
        message_id=f"s-{transaction}", occurred_at=START + timedelta(minutes=minutes), quote_id="q", event_id="e",
        transaction_id=transaction, n_tickets=2, amount_minor=10_000,
    )  # fmt: skip


def taken_back(transaction: str = "t", minutes: float = 8) -> QuoteTakenBack:
    return QuoteTakenBack(
        message_id=f"b-{transaction}", occurred_at=START + timedelta(minutes=minutes), quote_id="q", event_id="e",
        transaction_id=transaction, reason="refunded",
    )  # fmt: skip


def tick(at: datetime = LAPSE) -> ClockTicked:
    return ClockTicked(message_id="tick", occurred_at=at)


def live(*entries: QuoteJournal, rules: CapRules = RULES.caps) -> tuple[QuoteLife, list[PriceReward]]:
    """The life after these entries, and the rewards on the way."""
    life: QuoteLife | None = None
    caps = IdentityCaps({}, rules)
    rewards: list[PriceReward] = []
    for entry in entries:
        if isinstance(entry, ClockTicked):
            assert life is not None
            life = pass_time(life, entry, RULES)
            assert life is not None
        else:
            life, _ = note(life, entry, caps)
        reward = settle(life, entry, partition=0, sequence=len(rewards))
        rewards += [reward] if reward else []
    assert life is not None
    return life, rewards


def totals(rewards: list[PriceReward]) -> tuple[int, int, int]:
    return (
        sum(one.offers for one in rewards),
        sum(one.sales for one in rewards),
        sum(one.revenue_minor for one in rewards),
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([ISSUED], (0, 0, 0)),
        ([ISSUED, tick()], (1, 0, 0)),
        ([ISSUED, sold()], (1, 1, 5000)),
        ([ISSUED, sold(), tick()], (1, 1, 5000)),
        ([ISSUED, tick(), sold()], (1, 1, 5000)),
        ([sold(), ISSUED], (1, 1, 5000)),
        ([ISSUED, sold(), taken_back()], (0, 0, 0)),
        ([ISSUED, tick(), sold(), taken_back()], (0, 0, 0)),
        ([ISSUED, taken_back(), sold()], (0, 0, 0)),
        ([ISSUED, taken_back(), tick()], (0, 0, 0)),
        ([ISSUED, tick(), taken_back()], (0, 0, 0)),
        ([ISSUED, taken_back("declined card"), sold("next card")], (1, 1, 5000)),
        ([ISSUED, sold("one"), sold("two")], (1, 1, 5000)),
        ([ISSUED, sold("one"), sold("two"), taken_back("two")], (1, 1, 5000)),
        ([ISSUED, sold("one"), sold("two"), taken_back("one")], (0, 0, 0)),
        ([sold()], (0, 0, 0)),
    ],
)
def test_rewards_add_up_to_what_became_of_the_quote(entries: list[QuoteJournal], expected: tuple[int, ...]) -> None:
    assert totals(live(*entries)[1]) == expected


ENTRIES = st.lists(st.sampled_from([ISSUED, sold("a"), sold("b"), taken_back("a"), taken_back("b")]), min_size=1)


@given(ENTRIES, st.randoms())
def test_repeats_change_nothing(entries: list[QuoteJournal], random: Random) -> None:
    with_repeats: list[QuoteJournal] = []
    for entry in entries:
        with_repeats.append(entry)
        with_repeats += random.choices(with_repeats, k=random.randrange(3))
    assert totals(live(*with_repeats)[1]) == totals(live(*entries)[1])


@given(ENTRIES)
def test_the_counted_reward_is_always_the_outcome(entries: list[QuoteJournal]) -> None:
    life, rewards = live(*entries)
    assert totals(rewards)[:2] == (life.offers, life.sales) == outcome(life)


def test_a_sale_beyond_the_caps_leaves_with_the_offer_that_had_been_counted() -> None:
    caps = IdentityCaps({}, RULES.caps)
    assert caps.sale("e", ["card"], at_us=to_us(START))
    life, _ = note(None, ISSUED, caps)
    life = pass_time(life, tick(), RULES) or life
    lapsed = settle(life, tick(), partition=0, sequence=0)
    bought = replace(sold(), payers=["card"])
    life, _ = note(life, bought, caps)
    capped = settle(life, bought, partition=0, sequence=1)
    assert lapsed is not None
    assert capped is not None
    assert totals([lapsed]) == (1, 0, 0)
    assert totals([lapsed, capped]) == (0, 0, 0)
    assert caps.beyond == ["sales"]


@pytest.mark.parametrize("later", [[tick()], [sold()], [sold(), taken_back()], [tick(), taken_back()]])
def test_an_offer_beyond_the_caps_teaches_nothing_whatever_becomes_of_it(later: list[QuoteJournal]) -> None:
    assert live(ISSUED, *later, rules=CapRules(nameless_per_slot=0))[1] == []


def test_only_refunds_count_against_who_returns_tickets() -> None:
    for reason, counted in (("refunded", 1), ("declined", 0), ("verdict", 0)):
        store: dict[str, Counts] = {}
        caps = IdentityCaps(store, RULES.caps)
        life, _ = note(None, replace(ISSUED, buyer="ann"), caps)
        note(life, replace(sold(), payers=["ann", "card"]), caps)
        for _ in range(2):
            note(life, replace(taken_back(), reason=reason), caps)
        refunds = [counts.refunds for counts in store.values() if isinstance(counts, Tally)]
        assert refunds == [counted, counted]


def test_a_second_sale_at_a_quote_is_refused_as_used() -> None:
    life, _ = live(ISSUED, sold("one"))
    assert note(life, sold("two"), IdentityCaps({}, RULES.caps))[1] == "used"
    assert note(life, sold("one"), IdentityCaps({}, RULES.caps))[1] == ""


def test_thousands_of_declined_cards_leave_a_small_state_and_the_refund_in_it() -> None:
    tried = [taken_back(f"card {n}") for n in range(1000)]
    life, rewards = live(ISSUED, sold("one"), taken_back("one"), *tried)
    assert len(life.undone) <= MAX_UNDONE
    assert totals(rewards) == (0, 0, 0)


def test_a_reward_credits_the_price_and_time_that_were_quoted() -> None:
    [reward] = live(ISSUED, sold(minutes=9))[1]
    assert (reward.price_minor, reward.arm, reward.slot, reward.ticket_type) == (5000, 1, 3, "stalls")
    assert reward.offered_at == ISSUED.occurred_at
    assert reward.occurred_at == START + timedelta(minutes=9)
    assert kind(reward) == "sold"
    assert decode(encode(reward), PriceReward) == reward


def test_a_quote_lapses_after_its_grace_and_is_forgotten_later() -> None:
    life, _ = live(ISSUED)
    assert due_us(life, RULES) == to_us(LAPSE)
    assert pass_time(life, tick(LAPSE - timedelta(microseconds=1)), RULES) is life
    assert not life.lapsed
    lapsed = pass_time(life, tick(), RULES)
    assert lapsed is not None
    assert lapsed.lapsed
    assert due_us(lapsed, RULES) == to_us(LAPSE + timedelta(seconds=RULES.memory_seconds))
    assert pass_time(lapsed, tick(LAPSE + timedelta(seconds=RULES.memory_seconds)), RULES) is None


def test_a_sold_quote_is_remembered_as_long_as_it_can_be_refunded() -> None:
    life, _ = live(ISSUED, sold(), tick())
    assert due_us(life, RULES) == to_us(LAPSE + timedelta(seconds=RULES.refund_seconds))


def test_a_sale_without_its_quote_is_forgotten() -> None:
    life, _ = live(sold())
    assert pass_time(life, tick(START + timedelta(days=1)), RULES) is None


# --------------------------------------------------------------------------------------------------------------- sums
def reward(sequence: int, *, offers: int = 1, sales: int = 0, price: int = 5000, at: datetime = START,
           partition: int = 0) -> PriceReward:  # fmt: skip
    return PriceReward(
        message_id=f"{partition}-{sequence}", occurred_at=at, event_id="e", quote_id="q", ticket_type="stalls", arm=0,
        price_minor=price, slot=0, offered_at=at, offers=offers, sales=sales, revenue_minor=sales * price,
        source_partition=partition, sequence=sequence,
    )  # fmt: skip


DELTAS = st.lists(
    st.tuples(st.sampled_from([4000, 5000]), st.booleans(), st.integers(0, 200), st.integers(0, 3)), max_size=40
)


def folded(rewards: list[PriceReward]) -> EventSums:
    sums = EventSums()
    for one in rewards:
        fold(sums, one, HALF_LIFE)
    return decode(encode(sums), EventSums)  # type: ignore[no-any-return]  # as it is stored and read back


def as_rewards(deltas: list[tuple[int, bool, int, int]]) -> list[PriceReward]:
    return [
        reward(n, sales=int(sale), price=price, at=START + timedelta(hours=hours), partition=partition)
        for n, (price, sale, hours, partition) in enumerate(deltas)
    ]


@given(DELTAS, st.integers(0, 200), st.booleans())
def test_a_reward_taken_back_leaves_the_sums_as_if_it_never_was(
    deltas: list[tuple[int, bool, int, int]], hours: int, sale: bool
) -> None:
    before = as_rewards(deltas)
    at, n = START + timedelta(hours=hours), len(before)
    extra = [reward(n, sales=int(sale), at=at), reward(n + 1, offers=-1, sales=-int(sale), at=at)]
    horizon = int(HORIZON_HALF_LIVES * HALF_LIFE)
    assert hours * 3600 < horizon
    assert folded(before + extra).prices == folded(before).prices


@given(DELTAS)
def test_a_redelivered_reward_is_folded_once(deltas: list[tuple[int, bool, int, int]]) -> None:
    rewards = as_rewards(deltas)
    assert folded(rewards) == folded(rewards + rewards)


@given(DELTAS)
def test_sums_are_exact(deltas: list[tuple[int, bool, int, int]]) -> None:
    sums = folded(as_rewards(deltas))
    tiles = [tile for prices in sums.prices.values() for tiles in prices.values() for tile in tiles.values()]
    assert sum(offers for offers, _ in tiles) == len(deltas)
    assert sum(sales for _, sales in tiles) == sum(sale for _, sale, _, _ in deltas)


def test_what_is_older_than_the_horizon_is_left_out() -> None:
    old = reward(0, at=START - timedelta(days=11))
    assert folded([old, reward(1)]).prices == folded([reward(1)]).prices
    assert folded([reward(0), reward(1, at=START - timedelta(days=11))]).prices == folded([reward(0)]).prices


@pytest.mark.parametrize(
    ("changes", "beyond"),
    [({"seats_left": 0}, ["sold_out"]), ({"before_sale": True}, ["not_on_sale"]), ({"seats_left": 1}, []), ({}, [])],
)
def test_an_offer_that_nobody_could_take_teaches_nothing_and_takes_no_room(
    changes: dict[str, Any], beyond: list[str]
) -> None:
    kept: dict[str, Counts] = {}
    caps = IdentityCaps(kept, CapRules(offers=1))
    life, _ = note(None, replace(ISSUED, buyer="ann", **changes), caps)
    life.lapsed = True
    assert outcome(life) == ((0, 0) if beyond else (1, 0))
    assert caps.beyond == beyond
    assert bool(kept) == (not beyond)


@pytest.mark.parametrize("sale_first", [False, True])
def test_a_sale_in_another_currency_than_was_quoted_is_none(sale_first: bool) -> None:
    foreign = replace(sold(), currency="JPY")
    entries: list[QuoteIssued | QuoteSold] = [foreign, ISSUED] if sale_first else [ISSUED, foreign]
    life: QuoteLife | None = None
    refusals = []
    for entry in entries:
        life, refusal = note(life, entry, IdentityCaps({}, RULES.caps))
        refusals.append(refusal)
    assert life is not None
    assert outcome(life) == (0, 0)
    assert refusals == (["", ""] if sale_first else ["", "other_currency"])


@pytest.mark.parametrize("currency", ["", "GBP"])
def test_a_sale_in_the_quotes_currency_counts_and_one_that_does_not_say_too(currency: str) -> None:
    life, _ = note(None, ISSUED, IdentityCaps({}, RULES.caps))
    life, _ = note(life, replace(sold(), currency=currency), IdentityCaps({}, RULES.caps))
    assert outcome(life) == (1, 1)
