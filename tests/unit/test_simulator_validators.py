"""Every validator on a run that keeps its promises, and on one that breaks each of them."""

from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from simulator.judgement import Judgement, Result, judge, load_thresholds
from simulator.record import Change, Degradation, Noticed, PurchaseRecord, RunRecord
from simulator.validators import MEASURES, drift, figures_of, latency, measures_of, names
from tests.simulated_runs import at, event, fraud, purchase, purchases, run, shown, spoiled

THRESHOLDS = load_thresholds()


def judged(record: RunRecord) -> dict[str, Result]:
    return {result.name: result for result in judge([record], THRESHOLDS).runs[0].results}


def verdicts(record: RunRecord) -> dict[str, str]:
    return {name: result.verdict for name, result in judged(record).items()}


# ------------------------------------------------------------------------------------------------ a run as it should be
DRIFT = Change(what="people pay less", at_us=at(20), is_drift=True)
WHOLE = run(
    changes=(DRIFT,), noticed=(Noticed(what="psi of amount", at_us=at(35)),),
    degradation=Degradation(counts={"delayed": 30}, identifiable=2, answered=2),
)  # fmt: skip


def test_a_run_on_which_nothing_is_wrong_passes_every_threshold() -> None:
    assert set(verdicts(WHOLE).values()) == {"passed"}
    judgement = judge([WHOLE], THRESHOLDS)
    assert (judgement.verdict, judgement.exit_code, judgement.failed) == ("passed", 0, ())


def flat(share: float) -> tuple[PurchaseRecord, ...]:
    """Purchases of which a share is fraud, all approved, with scores that say nothing."""
    rng = Random(3)

    def one(number: int) -> PurchaseRecord:
        make = fraud if rng.random() < share else purchase
        return make(number, action="approve", outcome="settled", score=rng.random(), card_id=f"c{number % 300}")

    return tuple(one(number) for number in range(3_000))


def _with(each: PurchaseRecord, **changes: Any) -> PurchaseRecord:
    return replace(each, **changes)


def slow(latency_ms: float, share: float) -> tuple[PurchaseRecord, ...]:
    return tuple(
        _with(each, latency_ms=latency_ms) if number % 100 < share * 100 else each
        for number, each in enumerate(purchases())
    )


def unlucky(look_alike: str) -> tuple[PurchaseRecord, ...]:
    """A third of the honest buyers who look like this are turned down."""
    return tuple(
        _with(each, action="decline", outcome="refused") if each.look_alike == look_alike and number % 3 == 0 else each
        for number, each in enumerate(purchases())
    )


BROKEN: dict[str, dict[str, Any]] = {
    "latency.p50_ms": {"purchases": slow(300, 0.6)},
    "latency.p95_ms": {"purchases": slow(300, 0.1)},
    "latency.p99_ms": {"purchases": slow(300, 0.03)},
    "latency.missing": {"missing": 1},
    "latency.conflicting": {"conflicting": 1},
    "load.rate_share": {"rate_reached": 48.0},
    "load.held": {"holds_rate": False},
    "load.pacing_p99_ms": {"pacing_error_ms": {"p99": 80.0}},
    "load.undelivered": {"undelivered": 1},
    "accuracy.recall": {"purchases": flat(0.1)},
    "accuracy.precision": {"purchases": tuple(_with(each, action="review") for each in flat(0.03))},
    "accuracy.average_precision": {"purchases": flat(0.1)},
    "accuracy.false_declines": {"purchases": unlucky("")},
    "accuracy.worst_look_alike": {"purchases": unlucky("traveller")},
    "accuracy.card_precision": {"purchases": flat(0.03)},
    "accuracy.money_saved": {"purchases": flat(0.1)},
    "drift.noticed": {"noticed": ()},
    "drift.delay_seconds": {"noticed": (Noticed(what="psi", at_us=at(20 + 301)),)},
    "drift.false_alarms": {"noticed": tuple(Noticed(what="psi", at_us=at(second)) for second in (1, 2, 30))},
    "business.over_list": {"prices": (shown(0, 1_200), shown(1, 1_200))},
    "business.of_oracle": {"prices": (shown(0, 1_200), shown(1, 1_200))},
    "business.quoted": {"unquoted": 100},
    "degradation.unanswered": {"degradation": Degradation(counts={"malformed": 9}, identifiable=2, answered=1)},
    "degradation.injected": {"scenario": "system-degradation", "degradation": Degradation(counts={})},
}


def test_there_is_a_broken_run_for_every_threshold() -> None:
    every = {*THRESHOLDS.general, *(name for own in THRESHOLDS.by_scenario.values() for name in own)}
    assert set(BROKEN) == every


@pytest.mark.parametrize("name", BROKEN)
def test_a_run_that_breaks_a_promise_fails_it_and_says_which(name: str) -> None:
    record = spoiled(WHOLE, **BROKEN[name])
    assert judged(record)[name].verdict == "failed"
    judgement = judge([WHOLE, record], THRESHOLDS)
    assert (judgement.verdict, judgement.exit_code) == ("failed", 1)
    assert any(f"{record.scenario}: {name} is " in line for line in judgement.failed)


def test_a_mix_with_a_bad_network_is_judged_as_a_bad_day_and_one_without_as_a_good_one() -> None:
    bad_day = spoiled(WHOLE, scenario="mix", purchases=slow(600, 0.1), degradation=Degradation(counts={"delayed": 9}))
    bad = judged(spoiled(bad_day, parts=("normal", "system-degradation")))["latency.p95_ms"]
    good = judged(spoiled(bad_day, parts=("normal", "flash-sale")))["latency.p95_ms"]
    assert (bad.verdict, bad.threshold) == ("passed", 1000)
    assert (good.verdict, good.threshold) == ("failed", 200)


# ------------------------------------------------------------------------------------------- what can't be measured
def test_a_platform_that_reports_no_drift_has_neither_passed_nor_failed() -> None:
    record = spoiled(WHOLE, noticed=None)
    silent = {name: result for name, result in judged(record).items() if name.startswith("drift.")}
    assert {result.verdict for result in silent.values()} == {"not measured"}
    assert all("reports no drift" in result.sentence for result in silent.values())
    assert judge([record], THRESHOLDS).exit_code == 0


def test_a_stand_ins_verdicts_say_nothing_about_the_platform() -> None:
    past = run(mode="history", decided_by="stand-in", holds_rate=None, worst_lag_seconds=None, pacing_error_ms={},
               unquoted=4_000, missing=5)  # fmt: skip
    taken = {name for name, verdict in verdicts(past).items() if verdict != "not measured"}
    assert taken == {"load.rate_share"}


def test_a_run_of_nothing_measures_nothing_and_fails_nothing() -> None:
    empty = run(purchases=(), prices=(), markets=(), events=(), rate_reached=0.0, messages={})
    judgement = judge([empty], THRESHOLDS)
    assert {"accuracy.recall", "latency.p99_ms", "business.over_list"} <= {
        result.name for result in judgement.runs[0].results if result.verdict == "not measured"
    }


def test_too_few_purchases_are_not_judged() -> None:
    few = run(purchases=tuple(fraud(number, action="approve", outcome="settled") for number in range(29)))
    result = judged(few)["accuracy.recall"]
    assert (result.verdict, result.value) == ("not measured", None)
    assert "It rests on 29, and 30 are needed" in result.sentence
    enough = run(purchases=tuple(fraud(number, action="approve", outcome="settled") for number in range(30)))
    assert judged(enough)["accuracy.recall"].verdict == "failed"


def test_without_scores_there_is_no_average_precision_and_the_rest_is_judged() -> None:
    deaf = run(purchases=tuple(_with(each, score=None) for each in purchases()))
    found = verdicts(deaf)
    assert found["accuracy.average_precision"] == found["accuracy.card_precision"] == "not measured"
    assert found["accuracy.recall"] == "passed"


def test_every_measure_is_taken_or_says_why_not_and_has_a_name_that_is_known() -> None:
    for record in (WHOLE, run(purchases=()), run(mode="history", decided_by="stand-in"), run(markets=())):
        taken = measures_of(record, figures_of(record))
        assert set(names()) <= {measure.name for measure in taken}
        assert all(measure.sentence.endswith(".") for measure in taken)


# ---------------------------------------------------------------------------------------------------------- latency
def test_percentiles_are_of_the_answered_purchases() -> None:
    timed = tuple(purchase(number, latency_ms=float(number)) for number in range(101))
    found = latency.figures(run(purchases=(*timed, purchase(200, action=None, latency_ms=None))))
    assert (found.n, found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (101, 50, 95, 99, 100)


def test_latency_over_time_and_its_histogram_count_every_verdict_once() -> None:
    found = latency.figures(run())
    assert sum(each.n for each in found.over_time) == sum(bar.n for bar in found.histogram) == 3_000
    assert found.over_time[0].second == 0


def test_a_burst_of_slow_verdicts_stands_where_it_happened() -> None:
    burst = tuple(_with(each, latency_ms=900.0) if 1_500 <= n < 1_550 else each for n, each in enumerate(purchases()))
    worst = max(latency.figures(run(purchases=burst)).over_time, key=lambda each: each.p50_ms)
    assert worst.second == 30


# ------------------------------------------------------------------------------------------------------------ drift
def test_a_report_is_about_the_latest_drift_before_it() -> None:
    second = Change(what="fans leave", at_us=at(40), is_drift=True)
    quiet = Change(what="a ring begins", at_us=at(10))
    record = run(changes=(second, DRIFT, quiet), noticed=(Noticed(what="psi", at_us=at(45)),))
    found = drift.figures(record).injected
    assert [(each.what, each.at_seconds, each.noticed_seconds) for each in found] == [
        ("people pay less", 20.0, None), ("fans leave", 40.0, 45.0),
    ]  # fmt: skip
    measure = {each.name: each.value for each in measures_of(record, figures_of(record))}
    assert (measure["drift.noticed"], measure["drift.delay_seconds"], measure["drift.false_alarms"]) == (0.5, 5.0, 0)


def test_the_slowest_notice_is_the_delay() -> None:
    second = Change(what="fans leave", at_us=at(40), is_drift=True)
    record = run(
        changes=(DRIFT, second), noticed=(Noticed(what="psi", at_us=at(32)), Noticed(what="psi", at_us=at(43)))
    )
    measure = {each.name: each.value for each in measures_of(record, figures_of(record))}
    assert (measure["drift.noticed"], measure["drift.delay_seconds"]) == (1, 12.0)


def test_what_is_reported_where_nothing_drifts_is_a_false_alarm() -> None:
    record = run(noticed=(Noticed(what="psi", at_us=at(5)), Noticed(what="psi", at_us=at(50))))
    measure = {each.name: each.value for each in measures_of(record, figures_of(record))}
    assert (measure["drift.false_alarms"], measure["drift.noticed"]) == (2, None)


# -------------------------------------------------------------------------------------------- degradation, traffic
def test_harmed_or_not_whoever_can_be_identified_and_has_no_answer_counts() -> None:
    record = run(missing=3, degradation=Degradation(counts={"malformed": 9}, identifiable=5, answered=1))
    found = {each.name: each for each in measures_of(record, figures_of(record))}["degradation.unanswered"]
    assert (found.value, found.n) == (7, 3_005)


def test_what_comes_outside_the_load_counts_to_its_ends() -> None:
    early, late = purchase(0, occurred_us=at(-1)), purchase(1, occurred_us=at(61.5))
    counts = figures_of(run(purchases=(early, late, purchase(2, occurred_us=at(30))))).traffic.purchases["honest"]
    assert (len(counts), counts[0], counts[30], counts[-1]) == (60, 1, 1, 1)


# -------------------------------------------------------------------------------------------------------- judgement
def test_the_same_record_is_judged_the_same() -> None:
    def encoded(judgement: Judgement) -> bytes:
        return msgspec.json.encode(judgement)

    assert encoded(judge([WHOLE], THRESHOLDS)) == encoded(judge([WHOLE], THRESHOLDS))


def test_a_scenario_has_its_own_bounds() -> None:
    slowly = spoiled(WHOLE, purchases=slow(500, 0.1))
    assert verdicts(slowly)["latency.p95_ms"] == "failed"
    assert verdicts(spoiled(slowly, scenario="system-degradation"))["latency.p95_ms"] == "passed"


def test_measures_are_told_with_a_unit() -> None:
    assert {meaning.unit for meaning in MEASURES.values()} == {"ms", "seconds", "share", "change", "score", "count"}
    assert judged(WHOLE)["latency.p99_ms"].unit == "ms"


def test_events_without_seats_left_are_sold_through() -> None:
    found = figures_of(run(events=(event(0, before=100, after=0), event(1, before=300, after=300)))).business
    assert (str(found.sell_through), found.sell_through.value) == ("100 of 400", 0.25)
