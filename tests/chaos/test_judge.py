"""The judge of `make chaos` finds every fault that is planted, and nothing where there is none."""

from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest

from ibook import codec
from ibook import messages as m
from ibook.errors import InvalidMessage
from tests.chaos.judge import Findings, Lying, Sample, judge, waits, within
from tests.chaos.poison import CORPUS
from tests.chaos.traffic import Mix, messages
from tests.evidence import evidence_for
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
Topics = dict[str, list[Lying]]


def asked(offset: int, **changes: object) -> Lying:
    """A purchase of partition 1; `value` and `headers` in place of it make it unreadable."""
    bought = purchase(str(changes.pop("name", f"t{offset}")), now=NOW, **changes)  # type: ignore[arg-type]
    return Lying(1, offset, NOW_MS, codec.encode(bought))


def unreadable(offset: int, name: str = "") -> Lying:
    return Lying(1, offset, NOW_MS, b"{", {"transaction_id": name.encode()} if name else {})


def answer(offset: int, of: int, *, name: str = "", action: m.Action = "approve", partition: int = 1) -> Lying:
    """The verdict at `offset` of the purchase at `of`."""
    verdict = m.FraudVerdict(
        message_id=f"verdict-0-{of}", occurred_at=NOW, transaction_id=name or f"t{of}", action=action,
        score_band="low", posture="normal", model_version="1",
    )  # fmt: skip
    return Lying(partition, offset, NOW_MS + 20, codec.encode(verdict))


def letter(offset: int, of: int) -> Lying:
    dead = m.DeadLetter(
        message_id=f"ticket-purchases:1:{of}", occurred_at=NOW, topic="ticket-purchases", partition=1, offset=of,
        reason="malformed", detail="", worker="w", payload=b"{",
    )  # fmt: skip
    return Lying(0, offset, NOW_MS, codec.encode(dead))


@pytest.fixture
def topics() -> Topics:
    """Three purchases, one of them unreadable but named, one unreadable and nameless: all answered."""
    return {
        "ticket-activity": [],
        "ticket-purchases": [asked(0), asked(1), unreadable(2, "t2"), unreadable(3)],
        "fraud-evidence": [
            Lying(1, at, NOW_MS + 10, codec.encode(evidence_for(purchase(f"t{at}", now=NOW), at))) for at in (0, 1)
        ],
        "fraud-verdicts": [answer(0, 0), answer(1, 1), answer(2, 2, action="review")],
        "dead-letters": [letter(0, 2), letter(1, 3)],
    }


def test_a_good_night_has_no_faults(topics: Topics) -> None:
    found = judge(topics, [Sample({1: 2}, {1: 2}, 0), Sample({1: 4}, {1: 3}, 2)])
    assert found == Findings(purchases=3, verdicts=3, dead_letters=2)
    assert found.faults() == []


def test_a_purchase_without_a_verdict_is_missing_though_another_has_two(topics: Topics) -> None:
    topics["fraud-verdicts"][1] = answer(1, 0)
    found = judge(topics)
    assert (found.missing, found.repeated, found.purchases) == (["t1"], 1, 3)


def test_an_unreadable_purchase_that_names_itself_is_due_a_verdict(topics: Topics) -> None:
    del topics["fraud-verdicts"][2]
    assert judge(topics).missing == ["t2"]


def test_two_verdicts_that_differ_conflict_unless_the_first_wins(topics: Topics) -> None:
    topics["fraud-verdicts"].append(answer(3, 0, action="decline"))
    assert judge(topics).conflicting == ["t0"]
    assert judge(topics, first_wins=True).conflicting == []


def test_a_verdict_in_another_partition_conflicts_even_where_the_first_wins(topics: Topics) -> None:
    topics["fraud-verdicts"].append(answer(0, 0, partition=2))
    assert judge(topics, first_wins=True).conflicting == ["t0"]


def test_a_verdict_nobody_asked_for_is_found(topics: Topics) -> None:
    topics["fraud-verdicts"].append(answer(3, 9))
    assert judge(topics).invented == ["t9"]


def test_a_shop_that_was_given_another_verdict_than_the_first_or_none_is_found(topics: Topics) -> None:
    topics["fraud-verdicts"].append(answer(3, 0, action="decline"))
    found = judge(topics, given_to_shop={"t0": ["approve", "decline"], "t2": ["review", "review"]})
    assert (found.misgiven, found.ungiven) == (["t0"], ["t1"])


@pytest.mark.parametrize("planted", ["absent", "another", "late"])
def test_a_verdict_without_its_evidence_is_found(topics: Topics, planted: str) -> None:
    proof = topics["fraud-evidence"].pop()
    if planted == "another":  # says something else than the verdict
        other = msgspec.structs.replace(evidence_for(purchase("t1", now=NOW), 1), action="decline")
        topics["fraud-evidence"].append(proof._replace(value=codec.encode(other)))
    elif planted == "late":
        topics["fraud-evidence"].append(proof._replace(broker_ms=NOW_MS + 21))
    assert judge(topics).unexplained == ["verdict-0-1"]


def test_dead_letters_are_counted_by_position(topics: Topics) -> None:
    topics["dead-letters"] = [letter(0, 2), letter(1, 2), letter(2, 0)]
    found = judge(topics)
    assert found.letters_missing == [("ticket-purchases", 1, 3)]
    assert found.letters_beyond == [("ticket-purchases", 1, 0)]


def test_another_payload_of_a_known_transaction_is_due_a_dead_letter_and_no_verdict(topics: Topics) -> None:
    topics["ticket-purchases"] += [asked(4, name="t0", amount_minor=1), asked(5, name="t1")]
    found = judge(topics)
    assert (found.letters_missing, found.missing) == ([("ticket-purchases", 1, 4)], [])


def test_a_purchase_from_the_future_is_due_a_dead_letter_and_a_verdict(topics: Topics) -> None:
    soon = purchase("soon", now=NOW + timedelta(seconds=299))
    later = purchase("later", now=NOW + timedelta(seconds=301))
    topics["ticket-purchases"] += [Lying(1, 4 + i, NOW_MS, codec.encode(each)) for i, each in enumerate((soon, later))]
    found = judge(topics)
    assert (found.letters_missing, found.missing) == ([("ticket-purchases", 1, 5)], ["later", "soon"])


@pytest.mark.parametrize(
    ("sample", "passed"),
    [
        (Sample({1: 1}, {1: 0}, 0), 0),
        (Sample({1: 2}, {1: 1}, 0), 1),
        (Sample({1: 4}, {1: 3}, 1), 3),
    ],
)
def test_a_commit_that_passed_what_was_not_answered_yet_is_found(topics: Topics, sample: Sample, passed: int) -> None:
    assert judge(topics, [sample]).overtaken == [("ticket-purchases", 1, passed)]


def test_the_corpus_holds_what_is_refused_and_what_only_looks_so() -> None:
    good = codec.encode(purchase("good"))
    refused = set()
    for name, broken in CORPUS.items():
        try:
            codec.decode(broken(good), m.PurchaseRequested)
        except InvalidMessage:
            refused.add(name)
    assert CORPUS.keys() - refused == {"duplicate keys", "a huge integer in a field nobody reads"}


def test_the_same_seed_gives_the_same_traffic_but_for_its_times() -> None:
    one, other = (messages("run", Random("seed"), Mix(unreadable=0.1)) for _ in range(2))
    first = [next(one) for _ in range(500)]
    second = [next(other) for _ in range(500)]
    assert [(each.topic, each.key, each.headers) for each in first] == [
        (each.topic, each.key, each.headers) for each in second
    ]
    assert {each.topic for each in first} == {"ticket-purchases", "ticket-activity"}


def test_who_waits_longest_for_his_first_verdict_is_found_and_the_unanswered_are_left_out(topics: Topics) -> None:
    first, second, third = topics["fraud-verdicts"]
    topics["fraud-verdicts"] = [first, second._replace(broker_ms=NOW_MS + 4_000), answer(2, 1)]
    topics["ticket-purchases"].append(asked(4))
    assert waits(topics) == [0.02, 4.0]
    topics["fraud-verdicts"].append(third._replace(offset=3))
    assert waits(topics) == [0.02, 0.02, 4.0]
    assert [within(waits(topics), share) for share in (0.6, 0.99)] == [0.02, 4.0]
