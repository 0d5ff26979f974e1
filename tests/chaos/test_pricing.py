"""Pricing workers, the price API and Kafka end under load: no offer and no reward is lost or counted twice."""

import json
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from random import Random
from urllib.request import urlopen

import pytest
from confluent_kafka import KafkaException

from ibook.codec import encode
from ibook.edges.kafka import BroadcastReader, Outgoing, producer, publish
from ibook.errors import IbookError
from ibook.messages import EventListed, TicketType
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, changelog
from infra.local import processes
from infra.local.kafka import LocalKafka
from infra.local.redis import LocalRedis
from infra.local.workers import WORKERS
from streams.rewards_to_policies import NAME as LEARNER
from streams.rewards_to_policies import TABLE
from tests.chaos.crashing import crashes_of, deaths, mortal_worker
from tests.chaos.platform import ChaosPlatform, platform_on
from tests.chaos.pricing_judge import JUDGED, PricingFindings, judge_pricing
from tests.chaos.pricing_shop import PricingShop
from tests.chaos.reader import read_since
from tests.chaos.report import Row
from tests.workers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(600)]

REWARDS, OUTCOMES, SERVING, KAFKA = "journal-to-rewards", "outcomes-to-journal", "serving", "kafka"
RATE = 15.0
MAX_AGE_SECONDS = 20.0
AWAY_SECONDS = 60.0
SETTLED_SECONDS = 150.0
"""Longest until all quotes are settled after the last one. With all that comes before it lies within the time limit of
a test, which would hide what is wrong."""
SUMS = changelog(LEARNER, TABLE).name


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By worker: the lives it has yet to lose; none until a test asks for them."""
    folder = tmp_path_factory.mktemp("crashes")
    paths = {name: folder / f"{name}.txt" for name in (OUTCOMES, REWARDS, LEARNER)}
    for path in paths.values():
        path.write_text("")
    return paths


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, crashes: dict[str, Path]) -> Iterator[ChaosPlatform]:
    """A Kafka of its own and all that prices need; slots and quotes last for seconds."""
    folder = tmp_path_factory.mktemp("pricing")
    kafka, redis = LocalKafka(folder), LocalRedis(folder)
    settings = Settings(
        data_dir=folder, kafka_bootstrap=kafka.bootstrap, redis_url=redis.url, session_timeout_seconds=6,
        serving_port=processes.free_port(), scores="off", slot_seconds=2, quote_ttl_seconds=4, quote_grace_seconds=4,
        policy_seconds=1, policy_max_age_seconds=MAX_AGE_SECONDS,
    )  # fmt: skip
    chosen = [worker for worker in WORKERS if worker.name == SERVING]
    mortal = [mortal_worker(name, path) for name, path in crashes.items()]
    with platform_on(settings, [kafka, redis], [*chosen, *mortal]) as running:
        yield running


def listed(event_id: str) -> EventListed:
    now = datetime.now(UTC)
    return EventListed(
        message_id=f"listing-{event_id}", occurred_at=now, event_id=event_id, name="Gala", category="concerts",
        promoter_id="p", venue="v", capacity=5000, on_sale_at=now, starts_at=now + timedelta(days=30), currency="GBP",
        ticket_types=[TicketType(name="stalls", list_price_minor=5000, floor_minor=4000, cap_minor=6500)],
    )  # fmt: skip


@contextmanager
def trade(platform: ChaosPlatform, row: Row, seed: str) -> Iterator[PricingShop]:
    """Visitors while the context lasts; on leaving, wait until all quotes are over, and judge the topics into `row`."""
    settings, run = platform.settings, "".join(letter if letter.isalnum() else "-" for letter in row.scenario)
    platform.forget_ends()
    earlier = _found(settings, set())
    events = [f"{run}-{number}" for number in range(3)]
    messages = [Outgoing(topic=EVENT_LISTINGS.name, key=one.encode(), value=encode(listed(one))) for one in events]
    publish(producer(settings), messages)
    wait_until(lambda: min(_versions(settings, events)) > 0, 60, "prices that were learned")
    with PricingShop(settings, events, seed=f"{seed}/{run}", rate=RATE) as shop:
        _let_flow(shop, 3)
        yield shop
        _let_flow(shop, 3)
    _judge(platform, row, lambda: _new(settings, shop.answered(), earlier))
    before = _versions(settings, events)
    wait_until(
        lambda: all(now > then for now, then in zip(_versions(settings, events), before, strict=True)), 15,
        "prices to be learned anew",
    )  # fmt: skip


def _judge(platform: ChaosPlatform, row: Row, look: Callable[[], PricingFindings]) -> None:
    """Look until nothing is wrong, for as long as it may take; what is wrong meanwhile is printed as it changes."""
    over, told = time.monotonic(), ""
    found = look()
    while (faults := found.faults()) and not found.final() and time.monotonic() < over + SETTLED_SECONDS:
        if (said := "\n  ".join(faults)) != told:
            told = said
            print(f"{time.monotonic() - over:.0f} s after the last quote:\n  {said}", flush=True)
        time.sleep(1.0)
        found = look()
    row.lag_seconds = None if faults else time.monotonic() - over
    row.purchases, row.repeated = found.quotes, found.repeated
    row.missing, row.conflicting = len(found.lost) + len(found.wrong), len(found.conflicting) + len(found.astray)
    logs = [line for name in platform.names for line in (f"--- {name}", *platform.log(name)[-40:])]
    assert not faults, "\n".join([*faults, *logs])


def _found(settings: Settings, answered: Collection[str]) -> PricingFindings:
    """What is wrong with the topics and the learner's table as they are now, all that came before included.

    Raises KafkaException or IbookError while they can't be read.
    """
    with BroadcastReader(settings, SUMS) as reader:
        sums = {(record.key or b"").decode(): record.value or b"" for record in reader.load()}
    logs = read_since(settings, {(topic, each): 0 for topic in JUDGED for each in range(settings.partitions)})
    return judge_pricing(answered, logs, sums, offers_of_a_buyer=settings.cap_offers)


def _new(settings: Settings, answered: Collection[str], earlier: PricingFindings) -> PricingFindings:
    """What is wrong since an earlier look; a broker that does not answer is wrong, too."""
    try:
        return _found(settings, answered).since(earlier)
    except (KafkaException, IbookError) as error:
        return PricingFindings(wrong=[f"the broker: {error}"])


# ----------------------------------------------------------------------------------------------------------- scenarios
@pytest.mark.chaos(scenario="prices: the learner killed three times")
def test_the_learner_is_killed_under_load(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with trade(platform, row, seed) as shop:
        for _ in range(3):
            platform.end(LEARNER)
            _let_flow(shop, 2)


@pytest.mark.chaos(scenario="prices: the rewards workers killed twice each")
def test_the_rewards_workers_are_killed_under_load(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with trade(platform, row, seed) as shop:
        for name in (REWARDS, OUTCOMES) * 2:
            platform.end(name)
            _let_flow(shop, 2)


@pytest.mark.chaos(scenario="prices: the price API killed three times")
def test_the_price_api_is_killed_under_load(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with trade(platform, row, seed) as shop:
        for _ in range(3):
            platform.end(SERVING)
            _let_flow(shop, 2)
    assert shop.unanswered > 0, "it was away for a moment"


@pytest.mark.chaos(scenario="prices: crash before and after every step")
def test_workers_crash_before_and_after_every_step(
    platform: ChaosPlatform, row: Row, seed: str, crashes: dict[str, Path]
) -> None:
    with trade(platform, row, seed) as shop:
        orders = {name: Random(f"{seed}/{name}").sample(steps := crashes_of(name), len(steps)) for name in crashes}
        for name, path in crashes.items():
            path.write_text("".join(f"{crash}\n" for crash in orders[name]))
            platform.send(name, signal.SIGKILL)
        wait_until(lambda: not any(path.read_text() for path in crashes.values()), 60, lambda: _left(crashes))
        _let_flow(shop, 3)
    for name, order in orders.items():
        assert deaths(platform.log(name)) == order


@pytest.mark.chaos(scenario="prices: Kafka away for a minute")
def test_prices_are_given_while_kafka_is_away_for_a_minute(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with trade(platform, row, seed) as shop:
        with platform.frozen(KAFKA):
            frozen_at = time.monotonic()
            time.sleep(AWAY_SECONDS)
        until = frozen_at + AWAY_SECONDS
    meanwhile = [one for one in shop.shown if frozen_at < one.at < until]
    assert len(meanwhile) > 0.8 * RATE * AWAY_SECONDS
    late = [one.source for one in meanwhile if one.at > frozen_at + MAX_AGE_SECONDS + 5]
    assert set(late) == {"rules"}, "they are marked"


@pytest.mark.chaos(scenario="prices: the price API killed while Kafka is away")
def test_quotes_that_wait_for_kafka_survive_the_price_api(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with trade(platform, row, seed) as shop:
        with platform.frozen(KAFKA):
            _let_flow(shop, 3)
            wait_until(lambda: platform.send(SERVING, signal.SIGKILL), 10, "the price API to run")
            _let_flow(shop, 2)  # from what the killed one has kept
        platform._running.wait_ready(SERVING, timeout_seconds=60)


# ------------------------------------------------------------------------------------------------------------- helpers
def _left(crashes: dict[str, Path]) -> str:
    return ", ".join(f"{len(path.read_text().splitlines())} more crashes of {name}" for name, path in crashes.items())


def _let_flow(shop: PricingShop, seconds: float) -> None:
    """Wait until so many quotes more were given as that many seconds ask for."""
    until = len(shop.shown) + round(seconds * RATE)
    wait_until(lambda: len(shop.shown) >= until, 90, f"{until} quotes")


def _versions(settings: Settings, events: Sequence[str]) -> list[int]:
    """The policy of each event that the price API holds; 0 where it knows none, or is away."""
    return [_version(f"http://127.0.0.1:{settings.serving_port}/v1/events/{event_id}/price") for event_id in events]


def _version(url: str) -> int:
    try:
        with urlopen(url, timeout=2) as answer:
            return int(json.load(answer)["policy_version"])
    except (OSError, HTTPException):
        return 0
