"""One night of the platform: traffic flows, something breaks, and the topics must be whole afterwards."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random

from confluent_kafka import KafkaException

from ibook.edges.bulk import committed
from ibook.edges.lag import features_behind
from ibook.edges.online_store import OnlineStore
from ibook.edges.parity import check_parity
from ibook.errors import IbookError
from ibook.settings import Settings
from ibook.topics import FEATURE_SOURCES, FRAUD_VERDICTS, TICKET_PURCHASES
from tests.chaos.judge import JUDGED, Findings, Logs, expect, judge, waits, within
from tests.chaos.platform import ChaosPlatform
from tests.chaos.reader import Commits, Ends, consumer, ends, read_since
from tests.chaos.report import Row
from tests.chaos.traffic import Mix, Traffic
from tests.workers import wait_until

RATE = 120.0
"""Messages per second."""
PURCHASES_AMONG = 0.6
"""At least this share of them is due a verdict, whatever the mix."""
USUAL = Mix()
CALM_SECONDS = 120.0
"""Longest until nothing lags after the last fault."""
SHOP_SECONDS = 90.0
"""Longest until the shop has read its last verdict: its client, too, finds the broker again."""
READS = {
    "purchases-to-verdicts": (TICKET_PURCHASES.name,),
    "activity-to-entities": tuple(topic.name for topic in FEATURE_SOURCES),
}


class Scenario:
    """What a test has in hand while traffic flows."""

    def __init__(self, platform: ChaosPlatform, seed: str, traffic: Traffic, began: Ends) -> None:
        self.platform = platform
        self.settings = platform.settings
        self.rng = Random(f"{seed}/{traffic.run}/faults")
        self.traffic = traffic
        self.began = began
        self.logs: Logs = {}
        """What the topics held in the end; filled when the scenario is over."""
        self._client = consumer(self.settings)

    def answered(self) -> int:
        """Verdicts since the scenario began, asked of the broker."""
        try:
            now = ends(self._client, (FRAUD_VERDICTS.name,))
        except KafkaException:
            return -1
        return sum(end - self.began[place] for place, end in now.items())

    def let_flow(self, seconds: float, patience: float = 90.0) -> None:
        """Wait for as many more verdicts as that many seconds of traffic ask for."""
        wait_until(lambda: self.answered() >= 0, patience, "the broker to answer")
        before = self.answered()
        more = int(seconds * self.traffic.rate * PURCHASES_AMONG)
        wait_until(lambda: self.answered() >= before + more, patience, f"{more} more verdicts")

    def close(self) -> None:
        """Done asking."""
        self._client.close()


@contextmanager
def scenario(
    platform: ChaosPlatform,
    row: Row,
    seed: str,
    mix: Mix = USUAL,
    *,
    rate: float = RATE,
    first_wins: bool = False,
) -> Iterator[Scenario]:
    """Traffic while the context lasts; on leaving, wait until nothing lags, then judge the topics into `row`.

    Raises AssertionError that names everything found.
    """
    settings, run = platform.settings, "".join(letter if letter.isalnum() else "-" for letter in row.scenario)
    platform.forget_ends()
    client = consumer(settings)
    began = ends(client, JUDGED)
    client.close()
    with Commits(settings) as commits:
        with Traffic(settings, run, seed=f"{seed}/{run}", rate=rate, mix=mix) as traffic:
            night = Scenario(platform, seed, traffic, began)
            try:
                yield night
            finally:
                night.close()
        faults = rest(platform, row)
    logs = night.logs = read_since(settings, began)
    findings = judge(logs, commits.samples, given_to_shop=_given(platform, logs), first_wins=first_wins)
    vanished = sorted(traffic.delivered - expect(logs).answers.keys())
    _fill(row, findings, len(vanished))
    row.p99_seconds = within(waited, 0.99) if (waited := waits(logs)) else None
    assert len(commits.samples) > 5, "the commits were not watched"
    faults += [*findings.faults(), *_parity(settings, row)]
    faults += [f"the shop's reader ended: {failure}" for failure in platform.shop.failures]
    platform.shop.failures.clear()
    if vanished:
        faults.append(f"{len(vanished)} delivered purchases are not on the topic: {vanished[:3]}")
    assert not faults, "\n".join(faults)


def _given(platform: ChaosPlatform, logs: Logs) -> Mapping[str, Sequence[str]]:
    """What the shop was given; it is waited for until it has been given something of every transaction."""
    asked = expect(logs).answers.keys()
    deadline = time.monotonic() + SHOP_SECONDS
    while not asked <= platform.shop.given.keys() and time.monotonic() < deadline:
        time.sleep(0.1)
    return platform.shop.given


def rest(platform: ChaosPlatform, row: Row) -> list[str]:
    """Wait until everything runs and nothing lags, and lend no hand; what to say when it never came to that."""
    began = time.monotonic()
    store = OnlineStore(platform.settings.model_copy(update={"feature_read_seconds": 2.0}))
    try:
        wait_until(lambda: _behind(platform, store) == {}, CALM_SECONDS, lambda: _trouble(platform, store))
        row.lag_seconds = time.monotonic() - began
    except AssertionError as error:
        return [str(error)]
    finally:
        store.close()
    return []


def _behind(platform: ChaosPlatform, store: OnlineStore) -> dict[str, object]:
    """Who lags by how much; empty when nobody does."""
    settings = platform.settings
    client = consumer(settings)
    try:
        found: dict[str, object] = {}
        for group, topics in READS.items():
            until = ends(client, topics)
            done = committed(settings, group, until)
            found[group] = sum(end - done[place] for place, end in until.items())
        found["features"] = features_behind(settings, store)
        found["down"] = 0 if platform.whole() else "something"
    except (KafkaException, IbookError) as error:
        return {"broker": error}
    finally:
        client.close()
        time.sleep(0.2)
    return {name: lag for name, lag in found.items() if lag != 0}


def _trouble(platform: ChaosPlatform, store: OnlineStore) -> str:
    """What to say when it never came to rest."""
    logs = "\n".join(line for name in platform.names for line in (f"--- {name}", *platform.log(name)[-40:]))
    return f"nothing to lag, but {_behind(platform, store)}\n{logs}"


def _fill(row: Row, found: Findings, vanished: int) -> None:
    row.purchases, row.verdicts, row.repeated = found.purchases, found.verdicts, found.repeated
    row.missing, row.conflicting, row.dead_letters = (
        len(found.missing) + vanished,
        len(found.conflicting),
        found.dead_letters,
    )


def _parity(settings: Settings, row: Row) -> list[str]:
    """Everything that was served since the platform began, against the log."""
    report = check_parity(settings, live=True)
    row.parity = report.values.mismatches + report.pairs.missing + report.pairs.extra
    return [] if report.sound else ["parity: " + "; ".join([f"{report.as_json()}", *report.examples()])]
