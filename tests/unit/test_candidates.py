"""Candidates from files, what they show, and logs of others; what is wrong is said in one sentence."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from cli.main import app
from ibook.candidates import Candidate, LearnedPrices, LearnerPrices, RulePrices, Situation, read_candidate
from ibook.errors import ConfigurationError, IbookError
from ibook.experiments import Trial, choose, exact_shares
from ibook.foreign_log import decisions_in
from ibook.learner_replay import prices_as_learned
from ibook.messages import ArmProbabilities, EventListed, PricePolicy, QuoteIssued, TicketType
from ibook.off_policy import doubly_robust, ips, support
from ibook.price_log import decisions_of, price_log
from ibook.pricing import PricingRules
from ibook.slot_book import Outcome, SlotRecord
from tests.unit.test_slot_book import quote

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STALLS = TicketType(name="stalls", list_price_minor=5000, floor_minor=4000, cap_minor=6000)
LISTING = EventListed(
    message_id="l", occurred_at=NOW, event_id="gala", name="Gala", category="concerts", promoter_id="p", venue="v",
    capacity=100, on_sale_at=NOW - timedelta(days=5), starts_at=NOW + timedelta(days=5), currency="GBP",
    ticket_types=[STALLS],
)  # fmt: skip
ARMS = ArmProbabilities(
    ticket_type="stalls", list_price_minor=5000, prices_minor=[4000, 5000, 6000], probabilities=[0.25, 0.25, 0.5],
    expected_sales=[0.2, 0.15, 0.1], interval=[(0.1, 0.3), (0.1, 0.2), (0.0, 0.2)], rule_minor=6000,
)  # fmt: skip


def situation(seats_left: int | None = 50, decision: QuoteIssued | None = None) -> Situation:
    return Situation(replace(decision or quote(), seats_left=seats_left), LISTING, STALLS, ARMS)


def candidate(tmp_path: Path, text: str) -> Candidate:
    path = tmp_path / "candidate.toml"
    path.write_text(text)
    return read_candidate(path)


def shown(tmp_path: Path, text: str, seats_left: int | None = 50) -> dict[int, float]:
    return dict(candidate(tmp_path, text).prices(situation(seats_left)))  # type: ignore[union-attr]


def test_fixed_probabilities_are_of_multiples_within_floor_and_cap(tmp_path: Path) -> None:
    text = 'kind = "fixed"\n[probabilities]\n"0.5" = 0.25\n"0.8" = 0.25\n"1.1" = 0.5\n'
    assert shown(tmp_path, text) == {4000: 0.5, 5500: 0.5}


def test_a_rule_follows_seats_and_time_to_the_nearest_published_price(tmp_path: Path) -> None:
    text = 'kind = "rules"\nstrength = 1.0\nlowest = 0.8\nhighest = 1.4\nmultiples = [0.8, 1.0, 1.1, 1.2]\n'
    assert [shown(tmp_path, text, left) for left in (50, 40, 95, None)] == [
        {5000: 1.0}, {5500: 1.0}, {4000: 1.0}, {5000: 1.0}]  # fmt: skip


def test_the_learned_policy_under_other_guards_keeps_its_proportions_above_the_floor(tmp_path: Path) -> None:
    narrow = shown(tmp_path, 'kind = "learned"\nfloor = 0.0\nlowest = 0.9\n')
    assert narrow == pytest.approx({5000: 1 / 3, 6000: 2 / 3}, abs=1e-4)
    assert shown(tmp_path, 'kind = "learned"\nfloor = 0.3\n')[4000] == pytest.approx(0.3 + 0.1 * 0.25, abs=1e-4)
    assert shown(tmp_path, 'kind = "learned"\nlowest = 2.0\n') == {5000: 1.0}
    assert shown(tmp_path, 'kind = "list_price"\n') == {5000: 1.0}
    assert LearnedPrices().prices(replace(situation(), arms=None)) == {5000: 1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [("kind = ", "is not TOML"), ('kind = "greedy"', "is refused: Invalid value 'greedy'"),
     ('kind = "fixed"', "missing required field `probabilities`"),
     ('kind = "fixed"\n[probabilities]\n"1.0" = 0.5', "sum to 0.5"),
     ('kind = "fixed"\n[probabilities]\n"1.0" = 1.5\n"1.1" = -0.5', "at least 0"),
     ('kind = "fixed"\n[probabilities]\n"1.0" = nan', "sum to nan"),
     ('kind = "rules"\nlowest = 1.5', "lowest <= highest"), ('kind = "learned"\nfloor = 0.9', "floor <= 0.5"),
     ('kind = "rules"\nspeed = 3', "unknown field `speed`"), ('kind = "columns"\n[columns]', "names no columns")],
)  # fmt: skip
def test_a_file_that_is_no_candidate_is_refused_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"The candidate .*candidate\.toml") as caught:
        candidate(tmp_path, text)
    assert said in str(caught.value)


def test_an_arm_that_is_no_multiple_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'cheap' is no multiple"):
        shown(tmp_path, 'kind = "fixed"\n[probabilities]\ncheap = 1.0\n')
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_candidate(tmp_path / "none.toml")


# --------------------------------------------------------------------------------------------------- our own log
DEMAND = {4000: 0.30, 5000: 0.25, 6000: 0.18}
"""The hidden truth: P(sale) at each price."""


def sold_slots(n: int, seed: int) -> list[SlotRecord]:
    """Slots priced by the platform's own draw, of ten offers each."""
    rng, rules = np.random.default_rng(seed), PricingRules(slot_seconds=300.0, max_age_seconds=1e12)
    policy = PricePolicy(
        message_id="p", occurred_at=NOW, event_id="gala", version=1, slot_seconds=300.0, first_slot=0, currency="GBP",
        current=[], upcoming=[ARMS],
    )  # fmt: skip
    records = []
    for slot in range(n):
        trial = Trial(0, exact_shares(0.125, 0.125))
        choice = choose(policy, "gala", STALLS, slot=slot, secret=b"s", rules=rules, trial=trial)
        sales = int(rng.binomial(10, DEMAND[choice.price_minor]))
        decision = replace(
            quote(slot=slot, price=choice.price_minor, decided_by=choice.decided_by), arm=choice.arm,
            propensity=choice.propensity, total_propensity=choice.total_propensity,
        )  # fmt: skip
        records.append(SlotRecord(decision, Outcome(10, sales, sales * choice.price_minor)))
    return records


def test_what_another_policy_earns_is_estimated_from_slots_priced_by_ours(tmp_path: Path) -> None:
    fixed = candidate(tmp_path, 'kind = "fixed"\n[probabilities]\n"0.8" = 0.75\n"1.0" = 0.25\n')
    true = 0.75 * 0.8 * DEMAND[4000] + 0.25 * DEMAND[5000]
    held = 0
    for seed in range(20):
        log = price_log(sold_slots(600, seed), {"gala": LISTING}, {})
        decisions = decisions_of(log, fixed)
        assert support(decisions).mean_weight == pytest.approx(1.0, abs=0.25)
        held += sum(each.low <= true <= each.high for each in (ips(decisions), doubly_robust(decisions)))
    assert held >= 36


def test_offers_that_nothing_was_drawn_for_are_left_out_and_counted() -> None:
    drawn = sold_slots(3, 1)
    frozen = SlotRecord(quote(slot=9, decided_by="", total_propensity=None), Outcome(4, 1, 5000))
    gone = SlotRecord(replace(drawn[0].decision, event_id="another"), Outcome(2, 0, 0))
    older = SlotRecord(replace(drawn[1].decision, list_price_minor=None), Outcome(1, 0, 0))
    unsold = SlotRecord(replace(drawn[2].decision, slot=10), Outcome(0, 0, 0))
    log = price_log([*drawn, frozen, gone, older, unsold], {"gala": LISTING}, {})
    assert len(log.records) == 3
    assert sorted(log.left_out.values()) == [1, 2, 4]


def test_a_quote_of_before_experiments_counts_by_its_own_propensity() -> None:
    before = replace(quote(decided_by=""), arm=1, propensity=0.25, total_propensity=None)
    log = price_log([SlotRecord(before, Outcome(4, 2, 10_000))], {"gala": LISTING}, {})
    decisions = decisions_of(log, RulePrices())
    assert decisions.weights.tolist() == [4.0]


# ---------------------------------------------------------------------------------------------------- logs of others
TABLE: dict[str, list[object]] = {
    "arm": ["a", "b", "a", "b"] * 50, "propensity": [0.25, 0.75, 0.25, 0.75] * 50, "reward": [1.0, 0.0, 3, 2] * 50,
    "context_hour": [1, 2, 3, 4] * 50, "context_city": ["x", "y", "x", "z"] * 50,
    "cluster": [f"s{i // 4}" for i in range(200)], "p_a": [0.5] * 200, "p_b": [0.5] * 200,
}  # fmt: skip
ALWAYS_A = 'kind = "fixed"\n[probabilities]\na = 1.0\n'


def test_a_log_of_others_needs_arm_propensity_and_reward_and_may_say_more(tmp_path: Path) -> None:
    decisions = decisions_in(TABLE, candidate(tmp_path, ALWAYS_A))
    assert decisions.weights.tolist() == [4.0, 0.0, 4.0, 0.0] * 50
    assert decisions.clusters.max() == 49
    columns = candidate(tmp_path, 'kind = "columns"\n[columns]\na = "p_a"\nb = "p_b"\n')
    assert decisions_in(TABLE, columns).weights.tolist() == pytest.approx([2.0, 2 / 3] * 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"propensity": [0.5, 0.0] * 100}, "Row 2: propensity is 0; it must be above 0"),
     ({"propensity": [0.5, 1.5] * 100}, "Row 2: propensity is 1.5"),
     ({"propensity": None}, "no column 'propensity'"), ({"reward": ["much"] * 200}, "Row 1: reward is 'much'"),
     ({"reward": [1.0] * 199 + [float("nan")]}, "Row 200: reward is nan"),
     ({"arm": ["c"] * 200}, "never shows the candidate's arm 'a'"),
     ({"propensity": [0.5, 1e-300] * 100}, "Row 2: propensity is 1e-300; it must be above 0"),
     ({"propensity": [None] * 200}, "Row 1: propensity is None"),
     ({"reward": [1e308] * 200}, "Row 1: reward is 1e+308"),
     ({"decisions": [0] * 200}, "stands for 0 decisions"), ({"arm": ["a", None] * 100}, "Row 2: arm is missing"),
     ({"context_hour": [1.0] * 9 + [float("nan")] * 191}, "Row 10: context_hour is nan"),
     ({"arm": []}, "The log has no rows"), ({"arm": list(range(2000))}, "2000 arms")],
)  # fmt: skip
def test_what_is_wrong_with_a_log_is_said_by_row_and_column(
    tmp_path: Path, change: dict[str, list[object] | None], said: str
) -> None:
    table = {name: values for name, values in (TABLE | change).items() if values is not None}
    with pytest.raises(ConfigurationError) as caught:
        decisions_in(table, candidate(tmp_path, ALWAYS_A))
    assert said in str(caught.value)


def test_probabilities_of_columns_that_do_not_sum_to_one_and_candidates_of_prices_are_refused(tmp_path: Path) -> None:
    columns = candidate(tmp_path, 'kind = "columns"\n[columns]\na = "p_a"\n')
    with pytest.raises(ConfigurationError, match=r"Row 1: .* sum to 0\.5"):
        decisions_in(TABLE, columns)
    with pytest.raises(ConfigurationError, match="`fixed` or `columns`"):
        decisions_in(TABLE, RulePrices())


def evaluate(tmp_path: Path, log: Path, *more: str) -> str:
    (tmp_path / "candidate.toml").write_text(ALWAYS_A)
    ran = CliRunner().invoke(
        app, ["pricing", "evaluate", "--policy", str(tmp_path / "candidate.toml"), "--log", str(log), *more]
    )
    if isinstance(ran.exception, IbookError):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_command_reads_both_kinds_of_files_and_writes_page_and_json(tmp_path: Path, kind: str) -> None:
    log, table = tmp_path / f"log.{kind}", pa.table(TABLE)
    pyarrow.csv.write_csv(table, log) if kind == "csv" else pyarrow.parquet.write_table(table, log)
    told = evaluate(tmp_path, log, "--report", str(tmp_path / "page.html"), "--json", str(tmp_path / "found.json"))
    assert "candidate, on 200 offers in 50 clusters" in told
    assert "self-normalised" in told
    assert '"snips"' in (tmp_path / "found.json").read_text()
    page = (tmp_path / "page.html").read_text()
    assert page.count("<circle") == 5
    assert "http" not in page.replace("http-equiv", "")


def test_a_file_that_is_no_table_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"no parquet")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "twice.csv").write_text("arm,arm,propensity,reward\na,a,0.5,1\n")
    for name, said in (
        ("log.parquet", "can't be read"),
        ("empty.csv", "can't be read"),
        ("twice.csv", "two columns"),
        ("none.csv", "can't be read"),
        ("log.txt", "neither"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            evaluate(tmp_path, tmp_path / name)


# -------------------------------------------------------------------------------------------- a candidate that learns
def hourly(records: list[SlotRecord]) -> list[SlotRecord]:
    """The slots an hour apart, each settled within the hour."""
    times = [NOW + timedelta(hours=i) for i in range(len(records))]
    return [
        SlotRecord(replace(each.decision, occurred_at=at, expires_at=at), each.outcome)
        for each, at in zip(records, times, strict=True)
    ]


def test_the_learner_with_other_settings_decides_by_what_was_settled_before(tmp_path: Path) -> None:
    """The dearest price sells best here: with a short memory or a long one it comes to show it, but not at once."""
    situations = [Situation(each.decision, LISTING, STALLS, None) for each in hourly(sold_slots(120, 3))]
    outcomes = [Outcome(50, 25 if each.decision.price_minor == 6000 else 5, 0) for each in situations]
    learner = candidate(tmp_path, 'kind = "learner"\nmax_step = 5.0\nmultiples = [0.8, 1.0, 1.2]\n')
    assert isinstance(learner, LearnerPrices)
    shown = prices_as_learned(situations, outcomes, learner, PricingRules(slot_seconds=300.0), timedelta(0))
    assert set(shown[0]) <= {4000, 5000, 6000}
    assert shown[-1][6000] > max(0.8, shown[0].get(6000, 0.0))
    others = outcomes[:60] + [Outcome(50, 45 * (each.decision.price_minor == 4000), 0) for each in situations[60:]]
    later = prices_as_learned(situations, others, learner, PricingRules(slot_seconds=300.0), timedelta(0))
    assert later[:61] == shown[:61]
    assert later[-1].get(6000, 0.0) < shown[-1][6000]


def test_what_is_not_settled_yet_teaches_the_learner_nothing(tmp_path: Path) -> None:
    records = hourly(sold_slots(30, 3))
    situations = [Situation(each.decision, LISTING, STALLS, None) for each in records]
    learner = candidate(tmp_path, 'kind = "learner"\n')
    assert isinstance(learner, LearnerPrices)
    rules, late = PricingRules(slot_seconds=300.0), timedelta(days=9)
    sold = prices_as_learned(situations, [each.outcome for each in records], learner, rules, late)
    unsold = prices_as_learned(situations, [Outcome(10, 0, 0)] * 30, learner, rules, late)
    assert sold == unsold


def test_a_learner_is_evaluated_like_any_other_and_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    log = price_log(hourly(sold_slots(150, 4)), {"gala": LISTING}, {})
    decisions = decisions_of(log, candidate(tmp_path, 'kind = "learner"\nmultiples = [0.8, 1.0, 1.2]\n'))
    assert support(decisions).mean_weight == pytest.approx(1.0, abs=0.35)
    for text in (
        'kind = "learner"\nmax_step = 0.0',
        'kind = "learner"\nmultiples = []',
        'kind = "learner"\nmax_step = inf',
    ):
        with pytest.raises(ConfigurationError, match="larger than 0"):
            candidate(tmp_path, text)
