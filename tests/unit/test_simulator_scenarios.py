"""Every scenario does, in virtual time, what its description says; mixtures are made of their parts."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from random import Random

import pytest

from ibook import codec
from ibook.clock import to_us
from ibook.errors import ConfigurationError
from ibook.messages import PurchaseRequested
from simulator.attacks import PATTERNS
from simulator.chronicle import Chronicle
from simulator.engine import SECOND_US
from simulator.mix import DEFAULT_MIX
from simulator.plan import BEGINS, parse_weights
from simulator.recording import record_of_virtual
from simulator.scenarios import SCENARIOS, Scenario, mixed
from simulator.scenarios.black_friday import DROPS
from simulator.scenarios.curve import Curve
from simulator.scenarios.flash_sale import OPENS
from simulator.scenarios.gradual_drift import BEGINS as DRIFTS
from simulator.scenarios.gradual_drift import MOVED, WILLING
from simulator.sinks import MemorySink
from simulator.virtual import VirtualShop
from simulator.world import World

NOW_US = to_us(BEGINS)
SECONDS, RATE, SEED = 60.0, 25.0, 3


class Played:
    """A run, with the share of it at which each purchase was asked for."""

    def __init__(self, scenario: Scenario, seed: int = SEED, rate: float = RATE) -> None:
        self.sink, self.chronicle = MemorySink(), Chronicle()
        self.shop = VirtualShop(
            World(seed, BEGINS), scenario, self.sink, rate=rate, seconds=SECONDS, seed=seed, now_us=NOW_US,
            chronicle=self.chronicle,
        )  # fmt: skip
        self.shop.run()
        self.simulation = self.shop.play.simulation
        self.changes = [(change.what, self.share(change.at_us)) for change in self.shop.play.changes]
        self.requests = list(self.chronicle.requests.values())

    def share(self, at_us: int) -> float:
        return (at_us - NOW_US) / SECOND_US / SECONDS

    def between(self, begins: float, ends: float) -> list[PurchaseRequested]:
        return [one for one in self.requests if begins <= self.share(to_us(one.occurred_at)) < ends]

    def per_share(self, begins: float, ends: float) -> float:
        """Purchases against an even rate."""
        return len(self.between(begins, ends)) / len(self.requests) / (ends - begins)

    def campaigns(self, pattern: str) -> list[float]:
        attacks = self.simulation.truth.attacks.values()
        return [self.share(attack.started_us) for attack in attacks if attack.pattern == pattern]


@cache
def played(name: str) -> Played:
    return Played(SCENARIOS[name])


def as_bytes(sink: MemorySink) -> list[object]:
    return [*[(topic, key, codec.encode(message)) for topic, key, message in sink.records], *sink.raw]


# ------------------------------------------------------------------------------------------------------- all of them
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_sells_as_many_as_asked_and_says_what_happens(name: str) -> None:
    run, scenario = played(name), SCENARIOS[name]
    on_top = sum(len(attack.transaction_ids) for number, attack in run.simulation.truth.attacks.items()
                 if number in run.shop.play._launched)  # fmt: skip
    assert len(run.requests) - on_top == pytest.approx(RATE * SECONDS, rel=0.03)
    assert scenario.name == name and len(scenario.description) > 80
    reported = [turn.what for turn in scenario.turns if turn.what]
    assert [what for what, _ in run.changes if what in reported] == reported


@pytest.mark.parametrize("name", ["normal", "flash-sale", "system-degradation"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(name: str) -> None:
    first, again, other = (Played(SCENARIOS[name], seed, rate=5.0) for seed in (7, 7, 8))
    assert as_bytes(first.sink) == as_bytes(again.sink)
    assert not {key for _, key, _ in first.sink.records} & {key for _, key, _ in other.sink.records}


def test_the_record_of_a_run_holds_every_purchase_with_its_truth_and_its_end() -> None:
    run = played("fraud-attack")
    record = record_of_virtual(run.shop, run.chronicle, seed=SEED, compress=1.0)
    assert record.mode == "history" and record.decided_by == "stand-in" and record.holds_rate is None
    assert {one.transaction_id for one in record.purchases} == set(run.simulation.truth.transactions)
    assert {one.action for one in record.purchases} <= {"approve", "review", "challenge", "decline"}
    counts = Counter(one.outcome for one in record.purchases)
    ledger = run.simulation.shop.ledger.counts
    assert counts["declined"] == ledger["declined"] > 0 and counts["refused"] == ledger["refused"] > 0
    assert counts["settled"] + counts["refunded"] == ledger["settled"]
    assert counts["refunded"] == ledger["refunded"] and not counts["open"]
    assert sum(price.shown for price in record.prices) == run.simulation.storefront.shown.total()
    bought = sum(price.bought for price in record.prices)
    assert 0.97 * counts["settled"] < bought <= counts["settled"]  # a few saw their price before the doors opened
    assert record.rate_asked == pytest.approx(RATE) and record.rate_reached == pytest.approx(RATE, rel=0.25)


def test_a_run_that_is_stopped_ends_between_messages_and_settles_what_was_begun() -> None:
    sink, chronicle = MemorySink(), Chronicle()
    scenario = SCENARIOS["flash-sale"]
    shop = VirtualShop(World(SEED, BEGINS), scenario, sink, rate=RATE, seconds=SECONDS, seed=SEED, now_us=NOW_US,
                       chronicle=chronicle)  # fmt: skip
    shop.run(lambda: len(chronicle.requests) < 400)
    assert 400 <= len(chronicle.requests) < 700
    assert shop.play.simulation.shop.unsettled == 0
    record = record_of_virtual(shop, chronicle, seed=SEED, compress=1.0)
    assert record.seconds < 0.5 * SECONDS
    assert record.rate_asked == pytest.approx(record.rate_reached, rel=0.1)  # what was due until then
    assert len(sink.records) == shop.messages


# --------------------------------------------------------------------------------------------------- one after another
def test_normal_is_as_busy_all_the_time_and_has_the_usual_fraud() -> None:
    run = played("normal")
    assert all(run.per_share(tenth / 10, tenth / 10 + 0.1) == pytest.approx(1.0, abs=0.05) for tenth in range(10))
    assert not run.changes
    assert SCENARIOS["normal"].mix == DEFAULT_MIX


def test_a_flash_sale_jumps_within_seconds_and_decays_on_one_event_with_bots_first() -> None:
    run = played("flash-sale")
    before, peak = run.per_share(0.0, OPENS), run.per_share(OPENS + 0.02, OPENS + 0.07)
    assert peak > 5 * before
    falling = [run.per_share(begins, begins + 0.1) for begins in (0.12, 0.3, 0.5, 0.7)]
    assert all(later < 0.8 * earlier for earlier, later in pairwise(falling))
    hot, n = Counter(one.event_id for one in run.between(0.2, 0.4)).most_common(1)[0]
    assert n > 0.5 * len(run.between(0.2, 0.4))
    usual = Counter(one.event_id for one in run.between(0.0, OPENS))
    assert usual[hot] < 0.2 * usual.total()
    busy = Played(SCENARIOS["flash-sale"], rate=80.0)
    bots = [*busy.campaigns("scalper-ring"), *busy.campaigns("seat-hoarding")]
    early = sum(OPENS <= share < OPENS + 0.15 for share in bots)
    assert early > 0.6 * len(bots) >= 6


def test_a_fraud_attack_comes_in_waves_on_top_of_twice_the_usual_fraud() -> None:
    run = played("fraud-attack")
    assert SCENARIOS["fraud-attack"].mix.fraud == pytest.approx(2 * DEFAULT_MIX.fraud)
    for what, share in run.changes:
        started = run.campaigns(what.removeprefix("a wave of "))
        assert any(share <= one < share + 0.06 for one in started)
    fraud = {name for name, pattern in PATTERNS.items() if pattern.kind == "fraud"}
    shares = {name: run.simulation.truth.shares().get(name, 0.0) for name in fraud}
    usual = {name: played("normal").simulation.truth.shares().get(name, 0.0) for name in fraud}
    assert sum(shares.values()) > 2 * sum(usual.values()) > 0


def test_drift_moves_habits_demand_and_fraud_slowly_and_only_after_its_beginning() -> None:
    run, scenario = played("gradual-drift"), SCENARIOS["gradual-drift"]
    assert run.changes[0][1] == pytest.approx(DRIFTS) and run.shop.play.changes[0].is_drift
    assert [change.is_drift for change in run.shop.play.changes].count(True) == 1
    habits, usual = run.simulation.buyers.habits, scenario.habits
    for name, by in MOVED.items():
        assert getattr(habits, name) == pytest.approx(getattr(usual, name) + by)
    factors = [float(change.what.split()[-1]) for change in run.simulation.truth.changes if "willing" in change.what]
    assert all(factor == pytest.approx(factors[0]) for factor in factors) and 0.9 < factors[0] < 1
    assert factors[0] ** len(factors) == pytest.approx(WILLING, rel=1e-3)
    tides = {name: (tide(0.1), tide(0.99)) for name, tide in scenario.tides.items()}
    assert tides["card-testing"][0] > 4 * tides["card-testing"][1]
    assert tides["account-takeover"][1] > 2 * tides["account-takeover"][0]


def test_drift_shows_in_the_messages() -> None:
    """Held seats before a payment are what turned rarer: who pays at once holds none."""
    run = Played(SCENARIOS["gradual-drift"], rate=50.0)

    def holds_per_purchase(begins: float, ends: float) -> float:
        holds = [message for topic, _, message in run.sink.records
                 if topic == "ticket-activity" and type(message).__name__ == "SeatsHeld"
                 and begins <= run.share(to_us(message.occurred_at)) < ends]  # fmt: skip
        return len(holds) / len(run.between(begins, ends))

    assert holds_per_purchase(0.85, 1.0) < 0.92 * holds_per_purchase(0.0, 0.3)


def test_degradation_is_announced_and_ends_before_the_run() -> None:
    run = played("system-degradation")
    assert [round(share, 2) for _, share in run.changes] == [0.2, 0.85]
    assert run.shop.play.degraded is not None and run.shop.play.degraded.pending == 0


def test_black_friday_is_a_plateau_with_six_drops_each_with_an_event_of_its_own() -> None:
    run = played("black-friday")
    assert [what for what, _ in run.changes] == [f"drop {number}" for number in range(1, 7)]
    assert run.per_share(0.0, DROPS[0]) < 0.4
    favourites = set()
    for drop in DROPS:
        assert run.per_share(drop, drop + 0.03) > 1.35 * run.per_share(drop + 0.09, drop + 0.15)
        favourites.add(Counter(one.event_id for one in run.between(drop + 0.06, drop + 0.15)).most_common(1)[0][0])
    assert len(favourites) >= 5
    plateau = [run.per_share(drop + 0.08, drop + 0.15) for drop in DROPS]
    assert max(plateau) < 1.4 * min(plateau)


# --------------------------------------------------------------------------------------------------------- mixtures
def test_a_mixture_has_each_parts_share_of_fraud_load_and_habits() -> None:
    mixture = parse_weights("flash-sale=0.5, fraud-attack=1.5")
    flash, attack = SCENARIOS["flash-sale"], SCENARIOS["fraud-attack"]
    assert mixture.name == "mix" and "25% flash-sale, 75% fraud-attack" in mixture.description
    assert mixture.parts == ("flash-sale", "fraud-attack")
    for pattern in PATTERNS:
        shares = [scenario.mix.shares.get(pattern, 0.0) for scenario in (flash, attack)]
        assert mixture.mix.shares[pattern] == pytest.approx(0.25 * shares[0] + 0.75 * shares[1])
    for share in (0.05, 0.13, 0.9):
        assert mixture.rate(share) == pytest.approx(0.25 * Curve(flash.rate).factor(share) + 0.75)
    assert mixture.habits.bargain == pytest.approx(0.25 * flash.habits.bargain + 0.75 * attack.habits.bargain)
    assert [turn.at for turn in mixture.turns] == sorted(turn.at for turn in (*flash.turns, *attack.turns))


def test_bots_in_a_mixture_come_when_their_scenario_has_them() -> None:
    mixture = mixed([(SCENARIOS["flash-sale"], 1.0), (SCENARIOS["normal"], 1.0)])
    assert mixture.tides["scalper-ring"](OPENS + 0.01) > 10 * mixture.tides["scalper-ring"](0.9)
    assert mixture.tides["stolen-card"](0.9) == pytest.approx(
        0.5 * DEFAULT_MIX.shares["stolen-card"] * (Curve(SCENARIOS["flash-sale"].rate).factor(0.9) + 1)
    )


def test_turns_in_a_mixture_act_by_their_scenarios_share() -> None:
    run = Played(mixed([(SCENARIOS["gradual-drift"], 1.0), (SCENARIOS["normal"], 3.0)]), rate=5.0)
    assert record_of_virtual(run.shop, run.chronicle, seed=SEED, compress=1.0).parts == ("gradual-drift", "normal")
    habits, usual = run.simulation.buyers.habits, SCENARIOS["normal"].habits
    assert habits.mobile == pytest.approx(usual.mobile + MOVED["mobile"] / 4)
    mixed_in = mixed([(SCENARIOS["system-degradation"], 1.0), (SCENARIOS["normal"], 3.0)]).degradation
    whole = SCENARIOS["system-degradation"].degradation
    assert mixed_in is not None and whole is not None
    assert mixed_in.delayed == pytest.approx(whole.delayed / 4)
    assert mixed_in.silence_every[0] == pytest.approx(4 * whole.silence_every[0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("normal=0.7,sunny=0.3", "no scenario 'sunny', only normal, flash-sale"),
        ("normal=much", "'normal=much' where normal=0.3 is meant"),
        ("normal", "'normal' where normal=0.3 is meant"),
        ("normal=0", "normal must be a number above 0, not 0"),
        ("normal=nan", "normal must be a number above 0, not nan"),
        ("normal=inf", "normal must be a number above 0, not inf"),
        ("normal=-1,flash-sale=2", "normal must be a number above 0, not -1"),
        ("normal=1,normal=2", "names normal twice"),
        ("", "no scenario ''"),
    ],
)
def test_weights_that_make_no_mixture_are_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parse_weights(text)


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one scenario"):
        mixed([])


# ---------------------------------------------------------------------------------------------------------- the curve
@pytest.fixture
def steps() -> Iterator[Curve]:
    yield Curve(lambda share: 1.0 if share < 0.25 else 0.0 if share < 0.5 else 5.0)


def test_instants_follow_the_curve_to_within_one(steps: Curve) -> None:
    instants = list(steps.instants(NOW_US, 100.0, 1100, Random(1)))
    assert len(instants) == 1100 and instants == sorted(instants)
    counts = [sum(NOW_US + s * SECOND_US <= at < NOW_US + (s + 25) * SECOND_US for at in instants)
              for s in (0, 25, 50, 75)]  # fmt: skip
    assert counts == pytest.approx([100, 0, 500, 500], abs=1.5)


def test_less_than_one_instant_is_one_by_chance(steps: Curve) -> None:
    found = [len(list(steps.instants(NOW_US, 10.0, 0.3, Random(seed)))) for seed in range(1000)]
    assert set(found) == {0, 1} and sum(found) == pytest.approx(300, abs=45)
    assert not list(steps.instants(NOW_US, 10.0, 0.0, Random(1)))


def test_a_curve_is_nothing_outside_of_its_run_and_refuses_to_be_nothing_inside(steps: Curve) -> None:
    assert steps.factor(-0.01) == steps.factor(1.01) == 0
    assert steps.done(0.0) == 0 and steps.done(1.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="0 at every moment"):
        Curve(lambda _: 0.0)
