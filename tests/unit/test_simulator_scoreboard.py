"""Counting verdicts: the first one counts, repetitions are told apart, truth decides recall and precision."""

import pytest

from simulator.scoreboard import Scoreboard
from simulator.truth import Truth
from simulator.visits import Nature
from simulator.world import World
from tests.unit.test_simulator_shop import NOW


def board(*natures: Nature) -> Scoreboard:
    truth = Truth(World(5, NOW))
    for number, nature in enumerate(natures):
        if nature.attack is not None and nature.attack not in truth.attacks:
            assert truth.begin_attack(nature.pattern, 0) == nature.attack
        truth.record(f"t{number}", 0, nature)
    scores = Scoreboard(truth)
    for number in range(len(natures)):
        scores.purchase_sent(f"t{number}", at=10.0 + number)
    return scores


FRAUD = Nature(is_fraud=True, pattern="card-testing", attack=1)


def test_latency_is_from_produce_to_readable() -> None:
    scores = board(Nature(), Nature())
    assert scores.missing == 2
    assert scores.verdict_read("t0", "approve", 10.25)
    assert scores.verdict_read("t1", "approve", 11.05)
    assert scores.missing == 0
    assert list(scores.latencies) == pytest.approx([0.25, 0.05])
    assert scores.latency_ms()["p50"] == pytest.approx(150)
    assert scores.latency_ms(last=1)["p99"] == pytest.approx(50)


def test_a_repeated_verdict_is_a_duplicate_and_another_action_a_conflict() -> None:
    scores = board(Nature(), Nature())
    assert scores.verdict_read("t0", "approve", 11)
    assert not scores.verdict_read("t0", "approve", 12)
    assert not scores.verdict_read("t0", "approve", 13)
    assert scores.verdict_read("t1", "decline", 14)
    assert not scores.verdict_read("t1", "approve", 15)
    assert (scores.duplicated, scores.conflicting, scores.answered) == (1, 1, 2)
    assert dict(scores.actions) == {"approve": 1, "decline": 1}


def test_verdicts_of_others_are_unknown() -> None:
    scores = board()
    assert not scores.verdict_read("theirs", "approve", 11)
    assert (scores.unknown, scores.answered, scores.missing) == (1, 0, 0)


def test_a_purchase_that_kafka_did_not_take_is_not_missing() -> None:
    scores = board(Nature(), Nature())
    scores.purchase_lost("t0")
    assert scores.missing == 1
    scores.verdict_read("t0", "approve", 11)  # the broker had it after all
    assert scores.missing == 1


def test_recall_and_precision_are_judged_by_truth() -> None:
    scores = board(FRAUD, FRAUD, FRAUD, Nature(), Nature())
    assert scores.recall is None and scores.precision is None
    for number, action in enumerate(("decline", "review", "approve", "challenge", "approve")):
        scores.verdict_read(f"t{number}", action, 20)  # type: ignore[arg-type]
    assert scores.recall == pytest.approx(2 / 3)
    assert scores.precision == pytest.approx(2 / 3)


def test_abuse_is_neither_caught_fraud_nor_a_false_alarm() -> None:
    scores = board(FRAUD, Nature(is_abuse=True, pattern="scalper-ring"), Nature(is_abuse=True, pattern="scalper-ring"))
    for number, action in enumerate(("decline", "decline", "approve")):
        scores.verdict_read(f"t{number}", action, 20)  # type: ignore[arg-type]
    assert (scores.recall, scores.precision, scores.answered) == (1.0, 1.0, 3)


def test_an_attack_reports_who_was_caught_and_who_was_missed() -> None:
    scores = board(FRAUD, FRAUD, FRAUD, Nature())
    scores.verdict_read("t0", "decline", 20)
    scores.verdict_read("t1", "approve", 20)
    (report,) = scores.attacks()
    assert (report.pattern, report.purchases, report.caught, report.missed) == ("card-testing", 3, ("t0",), ("t1",))
