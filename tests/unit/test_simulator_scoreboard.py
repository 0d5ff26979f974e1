"""Counting verdicts: the first one counts, repetitions are told apart, truth decides recall and precision."""

from collections.abc import Iterator

import pytest

from ibook.clock import ManualClock
from simulator.loop import Inbox, Loop
from simulator.scoreboard import AttackReport, Scoreboard, Sent
from simulator.stats import standing
from simulator.truth import Truth
from simulator.visits import Nature
from simulator.world import World
from tests.unit.test_simulator_pacing import Open
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
    assert scores.recent_latency_ms(2)["p50"] == pytest.approx(150)
    assert scores.recent_latency_ms(1)["p99"] == pytest.approx(50)


def test_running_percentiles_come_from_bins_and_stand_for_all_verdicts() -> None:
    scores = board(*[Nature()] * 200)
    for number in range(200):
        scores.verdict_read(f"t{number}", "approve", 10.0 + number + (0.02 if number < 190 else 0.3))
        scores.verdict_read(f"t{number}", "approve", 99_999.0)  # a repetition is no latency
    assert scores.latency.n == 200
    assert {name: round(ms / true, 1) for (name, ms), true in zip(
        scores.latency.percentiles_ms().items(), (20, 20, 300), strict=True
    )} == {"p50": 1.0, "p95": 1.0, "p99": 1.0}  # fmt: skip


class Closed(dict[str, Sent]):
    """Purchases that can be counted, and not gone through."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("somebody went through all the purchases")

    values = items = keys = __getitem__ = __iter__  # type: ignore[assignment]


class Quick(Scoreboard):
    """Tells nothing that takes longer the longer a run goes on."""

    def recent_latency_ms(self, last: int) -> dict[str, float]:
        raise AssertionError("somebody sorted latencies")

    def attacks(self) -> tuple[AttackReport, ...]:
        raise AssertionError("somebody went through the attacks")


def test_looking_how_it_goes_takes_no_longer_in_a_long_run() -> None:
    opened = Open(20.0)
    scores = Quick(opened.simulation.truth, sent=Closed({f"t{number}": Sent(1.0) for number in range(40)}))
    scores.answered, scores.actions["approve"] = 30, 30
    opened.run(10)
    loop = Loop(opened.engine, ManualClock(NOW), Inbox(), lambda: None)
    now = standing(opened.simulation, scores, loop, rate=20.0, rate_due=20.0, seconds=10.0)
    books = opened.simulation.shop.ledger.books.values()
    assert (now.purchases, now.missing, now.actions, now.rate_reached) == (40, 10, {"approve": 30}, 4.0)
    assert now.sales == sum(book.sales for book in books) > 0


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
    scores.purchase_lost("t0")  # sent twice, and lost twice
    scores.purchase_lost("damaged, so that it was never counted")
    assert scores.missing == 1
    scores.verdict_read("t0", "approve", 11)  # the broker had it after all
    assert scores.missing == 1
    scores.purchase_lost("t0")
    assert scores.missing == 1
    scores.verdict_read("t1", "approve", 11)
    scores.purchase_lost("t1")  # the first copy was answered, the second did not arrive
    assert scores.missing == 0


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
