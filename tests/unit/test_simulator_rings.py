"""Attackers hear what the shop says: who is turned down changes something, tries less, and is gone at last."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from ibook.clock import to_us
from ibook.messages import Action, Message, PurchaseRequested
from ibook.topics import Topic
from simulator.attacks import CAMPAIGNS, PATTERNS
from simulator.attacks.craft import Craft
from simulator.attacks.ring import Change, Means, Reaction, Ring
from simulator.attacks.tempo import Tempo
from simulator.mix import NO_FRAUD
from simulator.scene import Scene
from simulator.shop import Paid, ShopRules
from simulator.simulation import Setup, Simulation
from simulator.storefront import ListPrices
from simulator.truth import read_truth
from simulator.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORLD = World(5, NOW)


class Alley:
    """A shop that gives every purchase the same answer, with nobody in it but attackers."""

    def __init__(self, action: Action, seed: int = 1) -> None:
        def asked(purchase: PurchaseRequested) -> None:
            self.purchases.append(purchase)
            self.simulation.engine.after(0.02, lambda: self.simulation.shop.on_verdict(purchase.transaction_id, action))

        def write(topic: Topic, key: str, message: Message) -> None:
            self.published.append(message)

        start_us = to_us(NOW)
        setup = Setup(
            seed=seed, run="alley", start_us=start_us, opens_us=start_us, punctual=False, per_second=1.0,
            rules=ShopRules(label_day_seconds=86_400), tempo=Tempo(), prices=ListPrices(), mix=NO_FRAUD,
        )  # fmt: skip
        self.purchases: list[PurchaseRequested] = []
        self.published: list[Message] = []
        self.simulation = Simulation(WORLD, setup, iter(()), write=write, asked=asked)

    def suffer(self, pattern: str, times: int = 6, *, every: timedelta = timedelta()) -> "Alley":
        for number in range(times):
            self.simulation.engine.run_until(to_us(NOW + number * every))
            self.simulation.fraudsters.launch(pattern)
        self.simulation.engine.run_until(to_us(NOW + timedelta(days=1)))
        return self

    def reactions(self) -> list[list[str]]:
        return [[each.what for each in attack.reactions] for attack in self.simulation.truth.attacks.values()]


@pytest.mark.parametrize("pattern", CAMPAIGNS)
def test_a_ring_that_is_refused_changes_something_and_tries_less(pattern: str) -> None:
    refused, approved = Alley("decline").suffer(pattern, 12), Alley("approve").suffer(pattern, 12)
    assert all(PATTERNS[pattern].name == each.pattern for each in refused.simulation.truth.attacks.values())
    assert sum(map(len, refused.reactions())) > 2 * sum(map(len, approved.reactions()))
    assert not any("gave up" in changes for changes in approved.reactions())


@pytest.mark.parametrize("pattern", ["card-testing", "card-testing-slow", "scalper-ring"])
def test_a_ring_that_is_always_refused_gives_up(pattern: str) -> None:
    refused, approved = Alley("decline").suffer(pattern, 12), Alley("approve").suffer(pattern, 12)
    assert len(refused.purchases) < 0.9 * len(approved.purchases)


def test_a_thief_who_is_refused_takes_another_device_or_leaves() -> None:
    refused = Alley("decline").suffer("stolen-card", 40)
    devices = Counter(purchase.user_id for purchase in refused.purchases)
    assert max(devices.values()) == 2
    twice = [user for user, n in devices.items() if n == 2]
    assert all(len({p.device_id for p in refused.purchases if p.user_id == user}) == 2 for user in twice)


def test_friendly_fraudsters_who_are_refused_go_elsewhere() -> None:
    def users(action: Action) -> int:
        alley = Alley(action).suffer("friendly-fraud", 40, every=timedelta(minutes=10))
        return len({purchase.user_id for purchase in alley.purchases})

    assert users("decline") > 1.5 * users("approve")


def test_the_same_seed_attacks_in_the_same_way_and_another_in_another() -> None:
    for pattern in PATTERNS:
        again = [Alley("challenge", seed).suffer(pattern, 3).published for seed in (1, 1, 2)]
        assert again[0] == again[1] != again[2]


def test_what_rings_did_is_kept_in_the_file_of_the_truth(tmp_path: Path) -> None:
    truth = Alley("decline").suffer("card-testing", 2).simulation.truth
    truth.changed(5, "demand x1.2")
    truth.write(tmp_path / "truth.jsonl")
    lines = [msgspec.json.decode(line) for line in (tmp_path / "truth.jsonl").read_bytes().splitlines()]
    reactions = [(line["attack"], line["what"]) for line in lines if line["kind"] == "reaction"]
    assert reactions == [(each.attack, each.what) for attack in truth.attacks.values() for each in attack.reactions]
    assert len(reactions) >= 4
    assert [line["what"] for line in lines if line["kind"] == "change"] == ["demand x1.2"]
    transactions, demand = read_truth(tmp_path / "truth.jsonl")
    assert (transactions, demand) == (truth.transactions, truth.demand)


class TestRing:
    MEANS = Means(devices=(3, 3), addresses=(4, 4), networks=2, issuers=(2, 2))

    def ring(self, *changes: Change) -> Ring:
        alley = Alley("approve").simulation
        scene = Scene(WORLD, alley.engine, alley.storefront, alley.shop, alley.truth)
        number = scene.truth.begin_attack("card-testing", 0)
        self.truth = scene.truth
        craft = Craft(scene, Random(3), Tempo())
        return Ring(craft, number, self.MEANS, Reaction(after=3, changes=changes, gives_up_after=2))

    def refuse(self, ring: Ring, times: int) -> None:
        for _ in range(times):
            ring.heard(Paid("refused"))

    def test_it_has_the_means_it_was_given(self) -> None:
        ring = self.ring("cards")
        assert (len(ring.devices), len(ring.addresses), len(ring.issuers)) == (3, 8, 2)
        assert len({address.ip.rsplit(".", 1)[0] for address in ring.addresses}) == 2

    @pytest.mark.parametrize("change", ["cards", "devices", "addresses"])
    def test_it_changes_what_it_was_caught_with(self, change: Change) -> None:
        ring = self.ring(change)
        attribute = "issuers" if change == "cards" else change
        before = {name: getattr(ring, name) for name in ("issuers", "devices", "addresses")}
        self.refuse(ring, 2)
        assert all(getattr(ring, name) == value for name, value in before.items())
        self.refuse(ring, 1)
        changed = {name for name, value in before.items() if getattr(ring, name) != value}
        assert changed == {attribute}
        assert not set(getattr(ring, attribute)) & set(before[attribute])

    def test_it_lies_low_once_and_may_slow_down_for_good(self) -> None:
        ring = self.ring("pace")
        assert ring.pause(10.0) == 10.0
        self.refuse(ring, 3)
        assert ring.pause(10.0) > 100.0
        assert ring.pause(10.0) == 20.0

    def test_a_success_makes_it_patient_again(self) -> None:
        ring = self.ring("devices")
        for _ in range(20):
            self.refuse(ring, 2)
            ring.heard(Paid("paid"))
        assert self.truth.attacks[1].reactions == []

    def test_sold_out_is_no_setback_and_declined_is_one(self) -> None:
        ring = self.ring("devices")
        for _ in range(9):
            ring.heard(Paid("sold_out"))
        assert self.truth.attacks[1].reactions == []
        for _ in range(3):
            ring.heard(Paid("declined"))
        assert [each.what for each in self.truth.attacks[1].reactions] == ["other devices"]

    def test_it_changes_one_thing_after_the_other_and_then_gives_up(self) -> None:
        ring = self.ring("addresses", "pace")
        self.refuse(ring, 8)
        patient = ring.has_given_up
        self.refuse(ring, 10)
        assert (patient, ring.has_given_up) == (False, True)
        assert [each.what for each in self.truth.attacks[1].reactions] == ["other addresses", "slower", "gave up"]
