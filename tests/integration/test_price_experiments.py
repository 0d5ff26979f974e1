"""The price experiment on real Kafka: the learner's process ends an arm that loses, people see it and bring it back."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from ibook.codec import encode
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.edges.price_experiments import read_experiment
from ibook.errors import ConfigurationError
from ibook.experiments import exact_shares
from ibook.messages import PriceReward, QuoteIssued
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, PRICE_REWARDS, QUOTE_JOURNAL
from infra.local.processes import Child, start
from infra.local.state import environment
from tests.integration.test_pricing_commands import ibook
from tests.integration.test_pricing_workers import listing
from tests.workers import wait_until

SHARES = exact_shares(0.25, 0.25)
CHANCES = {"list_price": 0.5, "rules": 0.1, "bandit": 0.55}
"""Of a sale at list price, whoever decides."""


def traded(n_slots: int, version: int = 0) -> list[Outgoing]:
    """Slots of ten offers each, long settled, as serving and the rewards worker would have told of them."""
    random, now = Random(11), datetime.now(UTC)
    messages, sequence = [], 1000 * version
    for slot in range(n_slots):
        arm = random.choices(list(CHANCES), weights=[0.25, 0.25, 0.5])[0]
        quote = QuoteIssued(
            message_id=f"q-{version}-{slot}", occurred_at=now - timedelta(hours=1), quote_id=f"q-{version}-{slot}",
            event_id="gala", ticket_type="stalls", currency="GBP", price_minor=5000, slot=slot + 10_000 * version,
            arm=-1, propensity=1.0, policy_version=1, expires_at=now - timedelta(minutes=30), decided_by=arm,
            experiment=version, shares=SHARES, total_propensity=1.0, list_price_minor=5000,
        )  # fmt: skip
        messages.append(Outgoing(topic=QUOTE_JOURNAL.name, value=encode(quote), partition=slot % 4))
        for _ in range(10):
            sold = random.random() < CHANCES[arm]
            reward = PriceReward(
                message_id=f"r-{sequence}", occurred_at=now, event_id="gala", quote_id=quote.quote_id,
                ticket_type="stalls", arm=-1, price_minor=5000, slot=quote.slot, offered_at=quote.occurred_at,
                offers=1, sales=int(sold), revenue_minor=5000 * sold, source_partition=0, sequence=sequence,
            )  # fmt: skip
            messages.append(Outgoing(topic=PRICE_REWARDS.name, value=encode(reward), partition=0))
            sequence += 1
    return messages


@pytest.fixture
def learner(platform_settings: Settings, tmp_path: Path) -> Iterator[Child]:
    """The real worker, which looks after the experiment."""
    argv = [sys.executable, "-m", "streams", "rewards-to-policies"]
    settings = platform_settings.model_copy(update={"price_list_share": 0.25, "price_rules_share": 0.25})
    child = start("learner", argv, log=tmp_path / "learner.log", env=environment(settings))
    yield child
    child.terminate()
    child.stop()


@pytest.mark.slow
def test_an_arm_that_loses_is_ended_by_the_learner_and_can_be_brought_back(
    platform_settings: Settings, learner: Child
) -> None:
    settings = platform_settings
    publish(producer(settings), traded(400))
    wait_until(lambda: read_experiment(settings).experiment is not None, 120, "the end of the arm")
    wait_until(lambda: _slots(settings) == 400, 60, "figures of all slots: it may have ended the arm before the last")
    known = read_experiment(settings)
    assert known.experiment is not None
    assert [each.arm for each in known.experiment.ended] == ["rules"]
    assert (known.experiment.shares.rules, known.experiment.by) == (0.0, "rewards-to-policies")
    told = ibook(settings, "report")
    assert "Rules was ended: It earns" in told
    assert "400 settled slots of 1 events with 4,000 offers" in told
    ibook(settings, "experiment", "--list-price", "0.25", "--rules", "0.25", "--why", "another rule")
    revived = read_experiment(settings).experiment
    assert revived is not None
    assert (revived.version, revived.counts_from, revived.ended, revived.shares) == (2, 2, [], SHARES)
    assert "nothing to report yet" in ibook(settings, "report")

    publish(producer(settings), traded(400, version=2))
    wait_until(lambda: _version(settings) == 3, 60, "the end of the arm that loses again")


def test_a_candidate_is_evaluated_on_the_log_of_the_platform(platform_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "candidate.toml").write_text('name = "steady"\nkind = "list_price"\n')
    asked = ("evaluate", "--policy", str(tmp_path / "candidate.toml"))
    with pytest.raises(ConfigurationError, match="nothing to go by yet"):
        ibook(platform_settings, *asked)
    listed = Outgoing(topic=EVENT_LISTINGS.name, key=b"gala", value=encode(listing("gala")))
    publish(producer(platform_settings), [listed, *traded(60)])
    told = ibook(platform_settings, *asked, "--report", str(tmp_path / "page.html"))
    assert "steady, on 600 offers in 60 clusters of our log" in told
    assert "the log covers 100% of what it does" in told
    assert "steady" in (tmp_path / "page.html").read_text()


def _slots(settings: Settings) -> int:
    figures = read_experiment(settings).figures
    return sum(each.slots for each in figures.arms) if figures else 0


def _version(settings: Settings) -> int:
    known = read_experiment(settings).experiment
    return known.version if known else 0


def test_without_slots_the_report_says_so_and_orders_that_make_no_sense_are_refused(
    platform_settings: Settings, tmp_path: Path
) -> None:
    told = ibook(platform_settings, "report", "--since", "1h", "--json", str(tmp_path / "report.json"))
    assert "There is nothing to report yet" in told
    assert '"arms": []' in (tmp_path / "report.json").read_text()
    assert "list price 10%, rules 10%, bandit 80%" in ibook(platform_settings, "experiment")
    for arguments in (("--end", "list_price"), ("--end", "rules", "--rules", "0.1"), ("--rules", "0.95")):
        with pytest.raises(ConfigurationError):
            ibook(platform_settings, "experiment", *arguments)
    assert read_experiment(platform_settings).experiment is None
    assert "rules 0%" in ibook(platform_settings, "experiment", "--end", "rules")
