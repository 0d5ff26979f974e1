"""Every validator on a run that keeps its promises, and on one that breaks each of them."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from simulator.judgement import Judgement, Result, judge, load_thresholds
from simulator.record import Change, Degradation, Noticed, PurchaseRecord, RunRecord
from simulator.validators import MEASURES, accuracy, drift, figures_of, latency, measures_of, names
from simulator.validators.cards import card_precision
from simulator.validators.curves import average_precision, curve_of
from tests.simulated_runs import START_US, abuse, event, fraud, purchase, purchases, run, shown, spoiled

THRESHOLDS = load_thresholds()


def judged(record: RunRecord) -> dict[str, Result]:
    return {result.name: result for result in judge([record], THRESHOLDS).runs[0].results}


def verdicts(record: RunRecord) -> dict[str, str]:
    return {name: result.verdict for name, result in judged(record).items()}


def at(seconds: float) -> int:
    return START_US + int(seconds * 1_000_000)


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


# --------------------------------------------------------------------------------------------------------- accuracy
def test_recall_precision_and_false_declines_by_hand() -> None:
    found = accuracy.figures(run(purchases=(
        fraud(0), fraud(1, action="review", outcome="settled"), fraud(2, action="approve", outcome="settled"),
        fraud(3, action=None, outcome="open"),  # nobody answered: it counts for nothing here
        purchase(4, action="decline", outcome="refused"), purchase(5, action="review"), purchase(6), purchase(7),
        abuse(8, action="decline", outcome="refused"), abuse(9),
    )))  # fmt: skip
    assert str(found.recall) == "2 of 3"
    assert str(found.precision) == "2 of 4"
    assert str(found.false_declines) == "1 of 4"
    assert str(found.abuse_flagged) == "1 of 2"
    assert str(found.plain_accuracy) == "4 of 7"
    assert str(found.plain_accuracy_of_nothing) == "4 of 7"


def test_abuse_is_neither_a_hit_nor_a_false_alarm() -> None:
    without = accuracy.figures(run())
    rings = tuple(abuse(10_000 + number, action="decline", outcome="refused", score=0.99) for number in range(500))
    beside = accuracy.figures(run(purchases=(*purchases(), *rings)))
    assert beside.recall == without.recall
    assert beside.precision == without.precision
    assert beside.false_declines == without.false_declines
    assert beside.average_precision == without.average_precision
    assert beside.abuse_flagged.value != without.abuse_flagged.value


def test_each_pattern_is_counted_with_its_money() -> None:
    found = accuracy.figures(run(purchases=(
        fraud(0, "stolen-card", amount_minor=700), fraud(1, "stolen-card", action="approve", outcome="settled"),
        abuse(2, "seat-hoarding", action="review"), purchase(3),
    ))).patterns  # fmt: skip
    assert set(found) == {"stolen-card", "seat-hoarding"}
    stolen, hoarding = found["stolen-card"], found["seat-hoarding"]
    assert (stolen.kind, stolen.purchases, str(stolen.flagged)) == ("fraud", 2, "1 of 2")
    assert (stolen.lost_minor, stolen.saved_minor) == (4_000, 700)
    assert (hoarding.kind, str(hoarding.flagged)) == ("abuse", "1 of 1")


def test_a_pattern_nobody_catches_shows_in_its_own_recall() -> None:
    hidden = tuple(fraud(9_000 + n, "resale", action="approve", outcome="settled", score=0.1) for n in range(40))
    record = run(purchases=(*purchases(), *hidden))
    found = {measure.name: measure for measure in measures_of(record, figures_of(record))}
    assert found["accuracy.recall_resale"].value == 0
    assert (found["accuracy.recall_card-testing"].value or 0) > 0.8


def test_look_alikes_are_told_apart_and_flagging_is_not_yet_turning_down() -> None:
    found = accuracy.figures(run(purchases=(
        purchase(0, look_alike="traveller", action="challenge", outcome="settled"),
        purchase(1, look_alike="traveller", action="decline", outcome="refused"), purchase(2),
        fraud(3, look_alike="traveller"),
    ))).look_alikes  # fmt: skip
    assert set(found) == {"traveller", "none"}
    assert (str(found["traveller"].flagged), str(found["traveller"].turned_down)) == ("2 of 2", "1 of 2")


def test_a_look_alike_that_hardly_buys_is_not_the_worst() -> None:
    lone = purchase(9_000, look_alike="fan_club", action="decline", outcome="refused")
    found = {each.name: each for each in measures_of(run(), figures_of(run(purchases=(*purchases(), lone))))}
    assert found["accuracy.false_declines_fan_club"].value == 1
    assert "fan_club" not in found["accuracy.worst_look_alike"].sentence


def test_money_is_lost_saved_or_neither() -> None:
    found = accuracy.figures(run(purchases=(
        fraud(0, amount_minor=1), fraud(1, action="approve", outcome="settled", amount_minor=20),
        fraud(2, action="approve", outcome="declined", amount_minor=300),
        fraud(3, action="review", outcome="open", amount_minor=4_000),
        purchase(4, action="decline", outcome="refused", amount_minor=50_000), purchase(5, amount_minor=600_000),
    ))).money  # fmt: skip
    assert (found.saved_minor, found.lost_minor, found.declined_by_issuer_minor) == (1, 20, 300)
    assert (found.open_minor, found.honest_turned_down_minor, found.attempted_minor) == (4_000, 50_000, 4_321)


def test_plain_accuracy_stands_beside_that_of_catching_nobody() -> None:
    found = accuracy.figures(run())
    assert found.plain_accuracy_of_nothing.value == pytest.approx(found.honest / (found.honest + found.fraud))
    assert "flatters" in accuracy.why_plain_accuracy_flatters(found)
    assert accuracy.why_plain_accuracy_flatters(accuracy.figures(run(purchases=()))) == ""


# ----------------------------------------------------------------------------------------------------------- scores
scored = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=2, max_size=60)


@given(scored)
def test_average_precision_is_scikit_learns_without_abuse_and_silence(pairs: list[tuple[bool, float]]) -> None:
    from sklearn.metrics import average_precision_score

    every = [fraud(n, score=score) if bad else purchase(n, score=score) for n, (bad, score) in enumerate(pairs)]
    mine = accuracy.figures(run(purchases=(*every, abuse(900, score=1.0), fraud(901, score=None)))).average_precision
    kinds = [bad for bad, _ in pairs]
    if len(set(kinds)) < 2:
        assert mine is None
    else:
        assert mine == pytest.approx(average_precision_score(kinds, [score for _, score in pairs]))


@given(scored)
def test_the_curve_begins_strict_ends_at_full_recall_and_has_the_same_area(pairs: list[tuple[bool, float]]) -> None:
    every = [fraud(n, score=score) if bad else purchase(n, score=score) for n, (bad, score) in enumerate(pairs)]
    curve, area = curve_of(every), average_precision(every)
    if area is None:
        assert curve.recall == ()
        return
    assert (curve.recall[0], curve.recall[-1]) == (0.0, 1.0)
    steps = zip(curve.recall[1:], curve.recall, curve.precision[1:], strict=False)
    assert sum((later - before) * height for later, before, height in steps) == pytest.approx(area)


def test_score_histograms_hold_every_score_of_a_pattern() -> None:
    three = (purchase(0, score=0.0), purchase(1, score=1.0), fraud(2, score=0.5))
    found = accuracy.figures(run(purchases=three)).scores
    assert (sum(found["honest"].counts), found["honest"].counts[0], found["honest"].counts[-1]) == (2, 1, 1)
    assert found["card-testing"].counts[10] == 1


# ------------------------------------------------------------------------------------------------------------ cards
def card(name: str, second: float, score: float, *, bad: bool = False) -> PurchaseRecord:
    make = fraud if bad else purchase
    return make(int(second * 50), card_id=name, score=score, occurred_us=at(second))


def test_card_precision_by_hand() -> None:
    """Two periods: in the first a and b are looked at, and a is bad; then a is blocked, c and d are looked at."""
    found = card_precision(run(purchases=(
        card("a", 1, 0.9, bad=True), card("a", 2, 0.2), card("b", 3, 0.8), card("c", 4, 0.7, bad=True),
        card("a", 11, 0.99, bad=True), card("c", 12, 0.6, bad=True), card("d", 13, 0.5), card("e", 14, 0.1),
    )), k=2)  # fmt: skip
    assert found is not None
    assert (found.periods, found.period_seconds) == (2, 10.0)
    assert found.value == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert found.best == pytest.approx((2 / 2 + 1 / 2) / 2)  # a and c could have been found, then only c is left


def test_a_card_counts_once_however_often_it_pays() -> None:
    burst = tuple(card("a", second / 10, 0.9, bad=True) for second in range(50))
    found = card_precision(run(purchases=(*burst, card("b", 1, 0.1))), k=2)
    assert found is not None
    assert (found.value, found.best) == (0.5, 0.5)


def test_a_purchase_after_the_load_makes_no_period_of_its_own() -> None:
    found = card_precision(run(purchases=(card("a", 1, 0.9, bad=True), card("b", 55, 0.9), card("c", 60.01, 0.5))))
    assert found is not None
    assert found.periods == 2


def test_long_runs_count_by_days() -> None:
    found = card_precision(run(seconds=3 * 86_400.0, purchases=(card("a", 1, 0.9, bad=True), card("b", 90_000, 0.9))))
    assert found is not None
    assert (found.period_seconds, found.periods) == (86_400.0, 2)


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


def test_an_honest_buyer_who_disputes_is_honest_in_every_plot() -> None:
    found = figures_of(run(purchases=(purchase(0, pattern="friendly"), purchase(1), fraud(2))))
    assert {name: sum(counts) for name, counts in found.traffic.purchases.items()} == {"honest": 2, "card-testing": 1}
    assert set(found.accuracy.scores) == {"honest", "card-testing"}
