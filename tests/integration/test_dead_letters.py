"""Dead letters on a real broker: listed, shown, and published again to where they came from."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ibook import codec
from ibook.edges.dead_letters import DeadLetters
from ibook.edges.kafka import BroadcastReader, Outgoing, Record, producer, publish
from ibook.errors import ConfigurationError, NothingKnown
from ibook.letters import ATTEMPT_HEADER
from ibook.messages import DeadLetter, DeadLetterRedriven, FraudVerdict
from ibook.settings import Settings
from ibook.topics import DEAD_LETTERS, FRAUD_VERDICTS, TICKET_PURCHASES
from tests.letters import letter

PURCHASES = TICKET_PURCHASES.name
NOW = datetime.now(UTC)
NAMED = [("transaction_id", b"t-1"), ("trace", b"abc")]


@pytest.fixture
def ibook(platform_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Command]":
    monkeypatch.setenv("IBOOK_KAFKA_BOOTSTRAP", platform_settings.kafka_bootstrap)
    monkeypatch.setenv("IBOOK_DATA_DIR", str(platform_settings.data_dir))
    yield Command()


class Command:
    """`ibook dead-letters …`, in this process."""

    def __call__(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, ["dead-letters", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


def put(settings: Settings, *messages: DeadLetter | DeadLetterRedriven) -> None:
    publish(producer(settings), [Outgoing(topic=DEAD_LETTERS.name, key=b"k", value=codec.encode(m)) for m in messages])


def answer(settings: Settings, transaction_id: str, partition: int) -> None:
    verdict = FraudVerdict(
        message_id="v", occurred_at=NOW, transaction_id=transaction_id, action="review", score_band="not_scored",
        posture="rules_only", model_version="none",
    )  # fmt: skip
    topic, key = FRAUD_VERDICTS.name, transaction_id.encode()
    publish(producer(settings), [Outgoing(topic=topic, key=key, partition=partition, value=codec.encode(verdict))])


def published(settings: Settings, topic: str) -> list[Record]:
    with BroadcastReader(settings, topic) as reader:
        return reader.load()


def test_a_message_goes_back_as_it_came_with_its_attempt_and_only_once(
    platform_settings: Settings, ibook: Command
) -> None:
    put(platform_settings, letter(5, partition=2, occurred_at=NOW, payload=b"{", headers=NAMED, key=b"card"))
    before = ibook.json("redrive", "--reason", "malformed", "--dry-run")
    assert (before["redriven"], published(platform_settings, PURCHASES)) == (1, [])
    assert ibook.json("redrive", "--reason", "malformed")["by_topic"] == {PURCHASES: 1}
    [record] = published(platform_settings, PURCHASES)
    assert (record.partition, record.key, record.value) == (2, b"card", b"{")
    assert record.headers == (*NAMED, (ATTEMPT_HEADER, b"1"))
    assert ibook.json("redrive", "--all")["redriven"] == 0
    assert ibook.json("list") == []
    [row] = ibook.json("list", "--all")
    assert (row["topic"], row["reason"], row["count"], row["redriven"]) == (PURCHASES, "malformed", 1, 1)


def test_a_purchase_that_was_answered_meanwhile_stays_and_is_counted(
    platform_settings: Settings, ibook: Command
) -> None:
    answered = letter(1, partition=1, occurred_at=NOW, headers=[("transaction_id", b"answered")])
    elsewhere = letter(2, partition=3, occurred_at=NOW, headers=[("transaction_id", b"answered-elsewhere")])
    waiting = letter(3, partition=1, occurred_at=NOW, headers=[("transaction_id", b"waiting")])
    answer(platform_settings, "answered", 1)
    answer(platform_settings, "answered-elsewhere", 0)
    put(platform_settings, answered, elsewhere, waiting)
    told = ibook("redrive", "--topic", PURCHASES)
    assert "1 answered meanwhile, left alone: no purchase is answered twice." in told
    sent = {dict(record.headers)["transaction_id"] for record in published(platform_settings, PURCHASES)}
    assert sent == {b"waiting", b"answered-elsewhere"}


def test_a_shortened_letter_and_one_of_an_older_worker_go_back_whole_while_their_topic_has_them(
    platform_settings: Settings, ibook: Command
) -> None:
    original = Outgoing(topic=PURCHASES, partition=0, key=b"card", value=b"x" * 100_000, headers=(("trace", b"1"),))
    publish(producer(platform_settings), [original, original])
    shortened = letter(0, reason="oversize", occurred_at=NOW, payload=b"x" * 65_536, truncated=True)
    old = letter(1, reason="oversize", occurred_at=NOW, key=None, headers=None)
    gone = letter(99, reason="oversize", occurred_at=NOW, key=None, headers=None)
    put(platform_settings, shortened, old, gone)
    done = ibook.json("redrive", "--reason", "oversize")
    assert (done["redriven"], done["lost"]) == (2, 1)
    for record in published(platform_settings, PURCHASES)[2:]:
        assert (record.key, record.value) == (original.key, original.value)
        assert record.headers == (("trace", b"1"), (ATTEMPT_HEADER, b"1"))


def test_letters_are_chosen_by_age_id_and_limit(platform_settings: Settings, ibook: Command) -> None:
    put(platform_settings, *(letter(offset, occurred_at=NOW, headers=NAMED) for offset in range(3)))
    put(platform_settings, letter(7, topic="payment-outcomes", occurred_at=NOW, reason="forged"))
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert ibook.json("list", "--since", tomorrow) == []
    assert sum(row["count"] for row in ibook.json("list", "--since", "1h")) == 4
    assert ibook.json("redrive", "--dry-run", "--limit", "2", "--topic", PURCHASES)["redriven"] == 2
    assert ibook.json("redrive", "--dry-run", "--id", f"{PURCHASES}:0:1")["redriven"] == 1
    assert ibook.json("redrive", "--dry-run", "--id", "t-1")["redriven"] == 3
    assert ibook.json("redrive", "--dry-run", "--reason", "forged")["reason"] == 1
    assert ibook.json("redrive", "--reason", "forged", "--force", "the secret is back")["redriven"] == 1
    notes = [codec.decode_letters(record.value) for record in published(platform_settings, DEAD_LETTERS.name)]
    [note] = [note for note in notes if isinstance(note, DeadLetterRedriven)]
    assert (note.letter, note.attempt, note.why) == ("payment-outcomes:0:7", 1, "the secret is back")


def test_a_letter_is_shown_by_position_and_by_transaction(platform_settings: Settings, ibook: Command) -> None:
    payload = b'{"transaction_id": "t-9", "note": "\x1b[2J"}'
    put(platform_settings, letter(5, occurred_at=NOW, payload=payload.replace(b"\x1b", b"\\u001b"), detail="why not"))
    by_position, by_transaction = ibook("show", f"{PURCHASES}:0:5"), ibook("show", "t-9")
    assert by_position == by_transaction
    assert "malformed: why not" in by_position
    assert "\x1b" not in by_position
    assert '"note": "\\u001b[2J"' in by_position


def test_questions_nobody_can_answer_are_one_sentence(platform_settings: Settings, ibook: Command) -> None:
    with pytest.raises(NothingKnown, match="No dead letter is named 'nobody'"):
        ibook("show", "nobody")
    with pytest.raises(ConfigurationError, match="Say which letters"):
        ibook("redrive")
    with pytest.raises(ConfigurationError, match="neither an age"):
        ibook("list", "--since", "yesterday")
    with DeadLetters(platform_settings) as letters:
        assert letters.book().letters() == []
