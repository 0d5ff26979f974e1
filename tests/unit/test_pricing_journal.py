"""Payments and verdicts become journal entries; a journal partition becomes numbered rewards."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.clock import to_us
from ibook.codec import decode, encode, unpack_state
from ibook.errors import QuoteRefused
from ibook.identity_caps import CapRules
from ibook.journal import entry_of
from ibook.ledger import COUNTS_PREFIX, OUTBOX_KEY, Agenda, Outbox, Page, due_of
from ibook.messages import (
    ClockTicked,
    FraudVerdict,
    PaymentOutcome,
    PriceReward,
    QuoteIssued,
    QuoteJournal,
    QuoteSold,
    QuoteTakenBack,
)
from ibook.quotes import Quote, QuoteKeys, tag
from ibook.rewards import RewardRules

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = QuoteKeys(b"secret")
RULES = RewardRules(
    grace_seconds=60, memory_seconds=3600, refund_seconds=86_400,
    caps=CapRules(offers=2, sales=1, refunds=1, nameless_per_slot=1, nameless_share=0.5),
)  # fmt: skip
EXPIRES = NOW + timedelta(minutes=10)
QUOTE_ID = KEYS.sign(
    Quote(event_tag=tag("e"), ticket_tag=tag("t"), price_minor=5000, slot=1, expires_at=EXPIRES, nonce=b"12345678")
)


def outcome(status: str, **changes: object) -> PaymentOutcome:
    fields: dict[str, Any] = {
        "message_id": "m", "occurred_at": NOW, "transaction_id": "t", "user_id": "u", "card_id": "c", "device_id": "d",
        "ip": "192.0.2.1", "event_id": "e", "amount_minor": 5000, "currency": "GBP", "n_tickets": 1,
        "quote_id": QUOTE_ID, "status": status,
    }  # fmt: skip
    return PaymentOutcome(**fields | changes)


def verdict(action: str, **changes: object) -> FraudVerdict:
    fields: dict[str, Any] = {
        "message_id": "m", "occurred_at": NOW, "transaction_id": "t", "action": action, "score_band": "low",
        "posture": "normal", "model_version": "none", "quote_id": QUOTE_ID, "event_id": "e",
    }  # fmt: skip
    return FraudVerdict(**fields | changes)


def entry(message: PaymentOutcome | FraudVerdict) -> QuoteSold | QuoteTakenBack | None:
    return entry_of(message, KEYS, RULES.grace_seconds)


def test_a_settled_payment_is_a_sale_of_its_quote() -> None:
    sold = entry(outcome("settled", n_tickets=3, amount_minor=15_000))
    assert isinstance(sold, QuoteSold)
    assert (sold.quote_id, sold.event_id, sold.transaction_id, sold.n_tickets) == (QUOTE_ID, "e", "t", 3)
    assert sold.payers == [KEYS.pseudonym("account", "u"), KEYS.pseudonym("card", "c"), KEYS.pseudonym("device", "d")]
    assert decode(encode(sold), QuoteJournal) == sold


@pytest.mark.parametrize(
    ("message", "reason"),
    [(outcome("refunded"), "refunded"), (outcome("declined"), "declined"), (verdict("decline"), "verdict")],
)
def test_what_undoes_an_attempt_takes_its_quote_back(message: PaymentOutcome | FraudVerdict, reason: str) -> None:
    back = entry(message)
    assert isinstance(back, QuoteTakenBack)
    assert (back.reason, back.transaction_id) == (reason, "t")


@pytest.mark.parametrize(
    "message",
    [outcome("authorised"), outcome("settled", quote_id=None), verdict("approve"), verdict("review"),
     verdict("decline", quote_id=None)],
)  # fmt: skip
def test_other_messages_say_nothing_about_quotes(message: PaymentOutcome | FraudVerdict) -> None:
    assert entry(message) is None


def refusal(message: PaymentOutcome | FraudVerdict) -> str:
    with pytest.raises(QuoteRefused) as caught:
        entry(message)
    return caught.value.reason


def test_quotes_that_are_not_ours_are_refused() -> None:
    assert refusal(outcome("settled", quote_id="x" * 92)) == "forged"
    assert refusal(outcome("refunded", quote_id="x" * 92)) == "forged"
    assert refusal(outcome("settled", event_id="f")) == "other_event"


def test_a_settlement_counts_until_the_grace_is_over_and_a_refund_always() -> None:
    in_time = EXPIRES + timedelta(seconds=RULES.grace_seconds)
    assert entry(outcome("settled", occurred_at=in_time)) is not None
    assert refusal(outcome("settled", occurred_at=in_time + timedelta(microseconds=1))) == "expired"
    assert entry(outcome("refunded", occurred_at=in_time + timedelta(days=20))) is not None


def test_the_same_message_gives_the_same_entry() -> None:
    assert entry(outcome("settled")) == entry(outcome("settled", message_id="redelivered"))


# ------------------------------------------------------------------------------------------------------------- ledger
BUYERS = {"a": "ann", "b": "bob", "c": "ann", "d": "ann"}
"""Who asked for which quote; others name nobody."""


def issued(quote_id: str) -> QuoteIssued:
    return QuoteIssued(
        message_id=quote_id, occurred_at=NOW, quote_id=quote_id, event_id="e", ticket_type="stalls", currency="GBP",
        price_minor=5000, slot=3, arm=1, propensity=0.4, policy_version=2, expires_at=EXPIRES,
        buyer=BUYERS.get(quote_id, ""),
    )  # fmt: skip


def happened(quote_id: str, what: str) -> QuoteIssued | QuoteSold | QuoteTakenBack:
    if what == "issued":
        return issued(quote_id)
    if what == "sold":
        return QuoteSold(
            message_id="s", occurred_at=NOW, quote_id=quote_id, event_id="e", transaction_id="t", n_tickets=1,
            amount_minor=5000, payers=[BUYERS.get(quote_id, "guest"), f"card of {BUYERS.get(quote_id)}"],
        )  # fmt: skip
    return QuoteTakenBack(
        message_id="b", occurred_at=NOW, quote_id=quote_id, event_id="e", transaction_id="t", reason="refunded"
    )


def tick(minutes: float) -> ClockTicked:
    return ClockTicked(message_id="tick", occurred_at=NOW + timedelta(minutes=minutes))


class Partition:
    """A journal partition with its table and the topic its rewards go to; it can crash at every step."""

    def __init__(self) -> None:
        self.table: dict[bytes, bytes] = {}
        self.published: list[PriceReward] = []
        self.restart()

    def restart(self) -> None:
        """What a worker does that takes the partition over."""
        stored = self.table.get(OUTBOX_KEY)
        self.outbox: Outbox = unpack_state(stored, Outbox) if stored else Outbox()
        self.published += self.outbox.rewards
        self.agenda = Agenda()
        self.agenda.add_all(
            (due, key) for key, value in self.table.items() if (due := due_of(key, value, RULES)) is not None
        )

    def handle(self, entries: list[QuoteIssued | QuoteSold | QuoteTakenBack], crash: str = "") -> None:
        page = Page(0, self.outbox, self.table.get, RULES)
        for one in entries:
            page.note(one)
        self.commit(page, crash)

    def pass_time(self, at: ClockTicked, crash: str = "") -> None:
        page = Page(0, self.outbox, self.table.get, RULES)
        for key in self.agenda.take(to_us(at.occurred_at), 100):
            page.pass_time(key, at)
        self.commit(page, crash)

    def commit(self, page: Page, crash: str) -> None:
        if crash == "before the changelog":
            return self.restart()
        outbox = page.outbox(self.outbox)
        for key, value in page.records(outbox).items():
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value
        if crash == "before the rewards":
            return self.restart()
        self.outbox = outbox
        for at_us, key in page.due():
            self.agenda.add(at_us, key)
        self.published += page.rewards
        if crash == "before the acknowledgement":
            self.restart()
        return None

    def totals(self) -> tuple[int, int]:
        """As a reader adds up: sequences it has seen are skipped."""
        newest, offers, sales = -1, 0, 0
        for reward in self.published:
            if reward.sequence > newest:
                newest = reward.sequence
                offers, sales = offers + reward.offers, sales + reward.sales
        return offers, sales


CRASHES = ("", "", "before the changelog", "before the rewards", "before the acknowledgement")
STEPS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["issued", "sold", "taken back"])), max_size=30)


@given(STEPS, st.randoms(use_true_random=False))
def test_crashes_anywhere_lose_and_double_nothing(steps: list[tuple[str, str]], random: Random) -> None:
    steady, shaky = Partition(), Partition()
    entries = [happened(*step) for step in steps]
    steady.handle(entries)
    steady.pass_time(tick(20))
    while entries:
        n = random.randint(1, len(entries))
        crash = random.choice(CRASHES)
        shaky.handle(entries[:n], crash)
        if not crash:
            entries = entries[n:]
        if random.random() < 0.2:
            shaky.pass_time(tick(20), random.choice(CRASHES))
    shaky.pass_time(tick(20), "before the rewards")
    shaky.pass_time(tick(20))
    assert shaky.totals() == steady.totals()
    assert shaky.table.keys() == steady.table.keys()
    assert all(shaky.table[key] == steady.table[key] for key in steady.table if key.startswith(COUNTS_PREFIX))


def test_rewards_are_numbered_without_gaps() -> None:
    partition = Partition()
    partition.handle([issued("a"), issued("b"), happened("a", "sold")])
    partition.pass_time(tick(20))
    assert [reward.sequence for reward in partition.published] == [0, 1]
    assert partition.totals() == (2, 1)


def test_one_buyer_is_counted_within_the_caps_only() -> None:
    partition = Partition()
    partition.handle([issued("a"), issued("c"), issued("d"), issued("b")])
    partition.pass_time(tick(20))
    assert partition.totals() == (3, 0)
    partition.handle([happened("a", "sold"), happened("c", "sold")])
    assert partition.totals() == (2, 1), "the second sale leaves with its offer"
    partition.handle([happened("a", "taken back"), issued("x"), happened("b", "sold")])
    partition.pass_time(tick(20))
    assert partition.totals() == (2, 1)


def test_what_is_forgotten_leaves_the_table() -> None:
    partition = Partition()
    partition.handle([issued("a"), happened("b", "sold"), issued("c"), happened("c", "sold")])
    partition.handle([happened("c", "taken back")])
    partition.pass_time(tick(20))
    partition.pass_time(tick(24 * 60))
    partition.pass_time(tick(3 * 24 * 60))
    partition.pass_time(tick(5 * 24 * 60))
    assert set(partition.table) == {OUTBOX_KEY}
    assert not partition.agenda.any_due(to_us(NOW + timedelta(days=365)))


def test_the_agenda_gives_what_is_due_earliest_first() -> None:
    agenda = Agenda()
    agenda.add_all([(30, b"c"), (10, b"a")])
    agenda.add(20, b"b")
    assert not agenda.any_due(9)
    assert agenda.take(25, limit=10) == [b"a", b"b"]
    assert agenda.take(30, limit=10) == [b"c"]
