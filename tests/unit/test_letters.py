"""Which dead letters there are, which may go back, and how they are told of."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.dead_letters_report import letter_lines, payload_lines, printable, redriven_sentences
from ibook.codec import decode_letters, encode
from ibook.edges.dead_letters import Redriven
from ibook.letters import (
    ATTEMPT_HEADER,
    READ_BY_OTHERS,
    Entry,
    LetterBook,
    attempt_of,
    fate_of,
    headers_for,
    summarise,
    transaction_of,
)
from ibook.messages import DeadLetter, DeadLetterRedriven
from ibook.topics import TOPICS
from tests.letters import REFUSED_AT, letter


def redriven(of: DeadLetter) -> DeadLetterRedriven:
    return DeadLetterRedriven(
        message_id="redriven", occurred_at=REFUSED_AT + timedelta(minutes=1), letter=of.message_id, attempt=1
    )


def book_of(*messages: DeadLetter | DeadLetterRedriven) -> LetterBook:
    book = LetterBook()
    for at, message in enumerate(messages):
        book.take(message, at)
    return book


def test_a_letter_written_twice_is_one_letter() -> None:
    assert [each.id for each in book_of(letter(1), letter(2), letter(1)).letters()] == [
        "ticket-purchases:0:1", "ticket-purchases:0:2",
    ]  # fmt: skip


def test_what_went_back_is_told_only_when_asked_for() -> None:
    book = book_of(letter(1), letter(2), redriven(letter(1)), letter(1))
    assert [each.offset for each in book.letters()] == [2]
    assert [each.offset for each in book.letters(redriven=True)] == [1, 2]


def test_a_message_refused_again_after_it_went_back_is_a_letter_of_its_own() -> None:
    book = book_of(letter(1), redriven(letter(1)), letter(9, attempt=1))
    assert [(each.offset, each.attempt) for each in book.letters()] == [(9, 1)]


def test_letters_are_summed_up_by_topic_and_reason() -> None:
    old = letter(3, occurred_at=REFUSED_AT - timedelta(hours=2), attempt=2)
    other = letter(4, topic="fraud-labels", reason="invalid")
    book = book_of(letter(1), letter(2), old, other, redriven(letter(2)))
    first, second = summarise(book, book.letters(redriven=True))
    assert (first.topic, first.reason, first.count, first.redriven) == ("ticket-purchases", "malformed", 3, 1)
    assert (first.oldest, first.newest, first.attempts) == (REFUSED_AT - timedelta(hours=2), REFUSED_AT, 2)
    assert (second.topic, second.count) == ("fraud-labels", 1)


def test_a_transaction_is_told_by_the_header_or_else_by_the_payload() -> None:
    named = b'{"transaction_id": "in-payload", "amount_minor": "x"}'
    assert transaction_of(letter(1, payload=named)) == "in-payload"
    assert transaction_of(letter(1, payload=named, headers=[("transaction_id", b"in-header")])) == "in-header"
    for payload in (b"", b"\xff\xfe", b"[" * 50_000, b'{"transaction_id": 7}', b"null"):
        assert transaction_of(letter(1, payload=payload)) == ""


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5))), st.integers(0, 99))
def test_attempts_are_counted_in_one_header_and_the_others_stay(headers: list[tuple[str, bytes]], attempt: int) -> None:
    again = headers_for(headers_for(headers, 1), attempt)
    assert attempt_of(again) == attempt
    others = [each for each in headers if each[0] != ATTEMPT_HEADER]
    assert list(again) == [*others, (ATTEMPT_HEADER, str(attempt).encode())]


@pytest.mark.parametrize("told", [b"", b"-1", b"many", b"1" * 400])
def test_an_attempt_header_of_anothers_making_counts_as_none(told: bytes) -> None:
    assert attempt_of([(ATTEMPT_HEADER, told)]) == 0


def fate(of: DeadLetter, *, answered: bool = False, forced: bool = False) -> str:
    entry = Entry.of(of, 0)
    return fate_of(entry, {(entry.partition, entry.transaction)} if answered else set(), 3, forced=forced)


NAMED = [("transaction_id", b"t-1")]


def test_an_answered_purchase_never_goes_back_forced_or_not() -> None:
    for reason in ("malformed", "conflict"):
        for forced in (False, True):
            assert fate(letter(1, headers=NAMED, reason=reason), answered=True, forced=forced) == "answered"


def test_a_verdict_says_nothing_about_messages_of_other_topics() -> None:
    assert fate(letter(1, topic="payment-outcomes", headers=NAMED), answered=True) == "redriven"


def test_attempts_are_bounded_forced_or_not() -> None:
    assert fate(letter(1, attempt=2)) == "redriven"
    assert fate(letter(1, attempt=3)) == fate(letter(1, attempt=3), forced=True) == "attempts"


@pytest.mark.parametrize("reason", READ_BY_OTHERS)
def test_what_others_have_counted_goes_back_only_when_forced(reason: str) -> None:
    assert fate(letter(1, reason=reason)) == "reason"
    assert fate(letter(1, reason=reason), forced=True) == "redriven"


@pytest.mark.parametrize("topic", [topic.name for topic in TOPICS if topic.compacted])
def test_an_old_message_does_not_take_the_place_of_a_newer_one_unless_forced(topic: str) -> None:
    assert fate(letter(1, topic=topic)) == "compacted"
    assert fate(letter(1, topic=topic), forced=True) == "redriven"


def test_letters_of_older_workers_are_still_read() -> None:
    old = encode(letter(1)).replace(b',"key":"Y2FyZA==","headers":[],"attempt":0', b"")
    read = decode_letters(old)
    assert isinstance(read, DeadLetter)
    assert (read.key, read.headers, read.attempt) == (None, None, 0)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_nothing_that_a_terminal_would_obey_is_printed(text: str) -> None:
    assert printable(text).isprintable()
    lines = letter_lines(letter(1, payload=text.encode(errors="replace"), detail=text, reason=text), went_back=False)
    assert all(line.isprintable() for line in lines)


@given(st.binary(max_size=200))
def test_any_payload_can_be_printed(payload: bytes) -> None:
    assert all(line.isprintable() for line in payload_lines(payload))


def test_a_long_payload_is_cut_and_says_so() -> None:
    *_, last = payload_lines(b"x" * 5_000)
    assert last == "… 1,000 characters more: --json"


def test_the_command_says_how_many_were_answered_meanwhile() -> None:
    done = Redriven()
    done.fates.update({"redriven": 2, "answered": 3})
    done.by_topic.update({"ticket-purchases": 2})
    assert redriven_sentences(done, dry_run=True) == [
        "2 messages would go back: ticket-purchases 2.",
        "3 answered meanwhile, left alone: no purchase is answered twice.",
    ]
