"""Parity, backfill, rebuild and doctor on real Kafka and Redis, with the workers of the verdict path."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from redis import Redis

from ibook import messages as m
from ibook.edges import backfill as edge
from ibook.edges.archive import archive_of
from ibook.edges.bulk import read_bulk, spans
from ibook.edges.doctor import Finding, examine
from ibook.edges.kafka import Outgoing, producer
from ibook.edges.kafka import publish as publish_all
from ibook.edges.lag import features_behind
from ibook.edges.online_store import OnlineStore
from ibook.edges.parity import archived, check_parity
from ibook.edges.rebuild import STATES_CHANGELOG, give_to_workers, patient, read_changelog, rebuild
from ibook.entities import EntityName, EntityUpdates, pack, unpack
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.partitioning import partition_of
from ibook.settings import Settings
from ibook.states import decode_stored, encode_state, encode_stored
from ibook.topics import ENTITY_UPDATES
from tests.traffic import missing, publish, purchases, verdicts
from tests.workers import WorkerProcess, environment, running_workers, wait_until

NAMES = ("activity-to-entities", "entities-to-features", "purchases-to-verdicts", "updates-to-archive")
Workers = dict[str, WorkerProcess]
States = dict[tuple[EntityName, str], bytes | None]


@pytest.fixture(scope="module")
def settings(shared_platform_settings: Settings) -> Settings:
    return shared_platform_settings


@pytest.fixture(scope="module")
def workers(settings: Settings) -> Iterator[Workers]:
    with running_workers(settings, NAMES) as running:
        yield running


@pytest.fixture(scope="module")
def sent(settings: Settings, workers: Workers) -> list[m.PurchaseRequested]:
    """Purchases, some of them sent twice by the shop, decided and folded."""
    sent = purchases("features", 400, keys=40)
    publish(settings, sent)
    publish(settings, sent[100:110])
    wait_until(lambda: not missing(sent, verdicts(settings)), 60, "verdicts")
    store = OnlineStore(patient(settings))
    wait_until(lambda: features_behind(settings, store) == 0, 60, "features")
    store.close()
    return sent


def states(settings: Settings) -> States:
    store = OnlineStore(patient(settings))
    found: States = {}
    for entity, name in read_changelog(settings).states:
        found[entity, name] = store.read_states({entity: [name]})[entity][0]
    store.close()
    return found


def test_every_value_served_is_what_the_log_gives(settings: Settings, sent: list[m.PurchaseRequested]) -> None:
    report = check_parity(settings, live=True)
    assert report.sound, report.examples()
    assert report.values.verdicts == len(sent)
    assert report.values.values_checked == len(sent) * len(FEATURE_NAMES)
    assert report.pairs.expected > len(sent) * 7
    assert {"p50", "p95", "p99"} <= set(report.as_json()["staleness_ms"])


def test_the_command_writes_its_keys_and_ends_well(
    settings: Settings, sent: list[m.PurchaseRequested], tmp_path: Path
) -> None:
    out = tmp_path / "parity.json"
    command = [sys.executable, "-m", "cli.main", "features", "parity", "--json", str(out)]
    done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert (found["mismatches"], found["updates_missing"], found["updates_extra"]) == (0, 0, 0)
    assert (found["features"], found["mismatches_by_feature"]) == (len(FEATURE_NAMES), {})


def test_backfill_gives_what_was_served_of_cards(
    settings: Settings, sent: list[m.PurchaseRequested], tmp_path: Path
) -> None:
    keys, out = tmp_path / "keys.csv", tmp_path / "out.parquet"
    with keys.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["transaction_id", "card_id", "user_id", "as_of"])
        rows.writerows([each.transaction_id, each.card_id, each.user_id, each.occurred_at.isoformat()] for each in sent)
    command = [sys.executable, "-m", "cli.main", "features", "backfill", "--keys", str(keys), "--out", str(out)]
    done = subprocess.run(
        [*command, "--write-offline"], env=environment(settings), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    filled = {row["transaction_id"]: row for row in pq.read_table(out).to_pylist()}
    last = {each.card_id: each.transaction_id for each in sent}
    for evidence in archive_of(settings).evidence():
        if evidence.transaction_id not in last.values():
            continue  # a state may have had later purchases of the same second: its tiles are no finer
        served = dict(zip(FEATURE_NAMES, evidence.features, strict=True))
        for name in ("card_attempts_1h", "card_attempts_24h", "user_attempts_24h", "user_distinct_cards_24h"):
            assert filled[evidence.transaction_id][name] == served[name], name
    assert list((settings.data_dir / "offline" / "card_state").glob("*.parquet"))


def test_backfill_with_measured_staleness_takes_it_from_the_evidence(
    settings: Settings, sent: list[m.PurchaseRequested], tmp_path: Path
) -> None:
    path = tmp_path / "keys.csv"
    archived(settings, live=True)
    soon = sent[-1].occurred_at + timedelta(minutes=30)  # however stale the last verdict's features were
    path.write_text(f"event_id,as_of\nevent-1,{soon.isoformat()}\n")
    table = edge.read_keys(path)
    stale = edge.measured_staleness_us(archive_of(settings), edge.instants_of(table))
    measured = [
        (each.occurred_at, round(each.staleness_seconds * 1e6))
        for each in archive_of(settings).evidence() if each.staleness_seconds is not None
    ]  # fmt: skip
    assert stale.tolist() == [max(measured)[1]]
    filled = edge.backfill(archive_of(settings), table, features=["event_attempts_1h"], staleness_us=stale)
    assert filled.column_names == ["event_id", "as_of", "event_attempts_1h"]
    assert filled.column("event_attempts_1h")[0].as_py() > 0


def test_backfill_refuses_what_it_has_no_key_for(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "keys.csv"
    path.write_text("card_id,as_of\nc,2026-01-01T00:00:00Z\n")
    with pytest.raises(ConfigurationError, match="no key for user_attempts_1h"):
        edge.backfill(archive_of(settings), edge.read_keys(path), features=["user_attempts_1h"])


def test_a_flushed_store_is_equal_to_before_once_the_workers_are_through(
    settings: Settings, sent: list[m.PurchaseRequested]
) -> None:
    before = states(settings)
    assert before
    assert None not in before.values()
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()
    done = rebuild(settings, live=True)
    assert done.is_equal
    assert states(settings) == before


def findings(settings: Settings) -> dict[str, Finding]:
    return {each.what: each for each in examine(settings)}


def test_doctor_finds_nothing_wrong_with_what_runs(settings: Settings, sent: list[m.PurchaseRequested]) -> None:
    well = ("redis", "redis memory", "heartbeats", "states", "partitions", "lag", "archive", "archive rows")
    found: dict[str, Finding] = {}

    def all_is_well() -> bool:
        found.update(findings(settings))
        return all(found[what].level == "OK" for what in well)

    wait_until(all_is_well, 30, lambda: f"all to be well: {found}")
    assert found["views"].level == "WARN"  # these purchases name no promoter
    assert (found["registry"].level, found["model"].level) == ("FAIL", "WARN")  # nobody registered or trained here


def test_doctor_names_a_redis_that_evicts(settings: Settings, sent: list[m.PurchaseRequested]) -> None:
    with Redis.from_url(settings.redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert findings(settings)["redis memory"].level == "FAIL"
        finally:
            client.config_set("maxmemory-policy", "noeviction")


# ------------------------------------------------------------------------- from here on no worker runs; order matters
@pytest.fixture(scope="module")
def stopped(settings: Settings, workers: Workers, sent: list[m.PurchaseRequested]) -> States:
    """The states of a platform that has stopped."""
    found = states(settings)
    for worker in workers.values():
        assert worker.stop() == 0
    return found


@pytest.mark.parametrize("from_log", [False, True])
def test_an_empty_store_is_filled_from_changelog_or_log(settings: Settings, stopped: States, from_log: bool) -> None:
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()
    told: list[str] = []
    assert rebuild(settings, live=False, from_log=from_log, say=told.append).is_equal
    assert states(settings) == stopped
    assert any(f"{len(stopped):,} states moved" in sentence for sentence in told)


def test_a_state_that_differs_is_replaced_and_a_newer_one_is_left(settings: Settings, stopped: States) -> None:
    store = OnlineStore(patient(settings))
    (older, newer), log = [key for key in stopped if key[0] == "card"][:2], read_changelog(settings).states
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()
    assert rebuild(settings, live=False).is_equal
    tampered = _with_stamp(log[older], -1), _with_stamp(log[newer], 10**6)
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()
    for (entity, name), (state, stamp_us) in zip((older, newer), tampered, strict=True):
        store.write_states(entity, [(name, state, stamp_us)])
    done = rebuild(settings, live=False)
    assert (done.is_equal, done.newer) == (True, 1)
    after = states(settings)
    assert after[older] == stopped[older]
    assert after[newer] == tampered[1][0]
    store.close()


def _with_stamp(stored: bytes, by_us: int) -> tuple[bytes, int]:
    state = decode_stored(stored).state
    state.stamp_us += by_us
    return encode_state(state), state.stamp_us


def test_what_the_workers_know_is_corrected_from_the_log(settings: Settings, stopped: States) -> None:
    log = read_changelog(settings).states
    (entity, name), stored = next(iter(log.items()))
    home = partition_of(f"{entity}:{name}", settings.partitions)
    damaged = decode_stored(stored)
    damaged.state.tiles.clear()
    publish_all(producer(settings), [
        Outgoing(topic=STATES_CHANGELOG, key=f"{entity}:{name}".encode(), value=encode_stored(damaged), partition=home)
    ])  # fmt: skip
    assert read_changelog(settings).states != log
    assert give_to_workers(settings, live=False) == len(stopped)
    corrected = read_changelog(settings)
    assert (corrected.states, corrected.twice) == (log, [])


def test_doctor_says_what_a_stopped_platform_lacks(settings: Settings, stopped: States) -> None:
    with Redis.from_url(settings.redis_url) as client:
        client.flushall()
    found = findings(settings)
    assert (found["heartbeats"].level, found["views"].level) == ("FAIL", "FAIL")


def test_doctor_finds_states_in_two_partitions_and_of_other_declarations(settings: Settings, stopped: States) -> None:
    held = spans(settings, [STATES_CHANGELOG])
    lying = next(each for _, each in read_bulk(settings, held) if each.value and (each.key or b"").startswith(b"user:"))
    other = decode_stored(lying.value or b"")
    other.state.layout ^= 1
    elsewhere = (lying.partition + 1) % settings.partitions
    publish_all(producer(settings), [
        Outgoing(topic=STATES_CHANGELOG, key=lying.key, value=encode_stored(other), partition=elsewhere)
    ])  # fmt: skip
    found = findings(settings)
    assert (found["partitions"].level, found["states"].level) == ("FAIL", "WARN")
    assert (lying.key or b"").decode().replace(":", " ") in found["partitions"].sentence


def test_a_dropped_and_a_forged_update_are_named(settings: Settings, stopped: States) -> None:
    """Last: it spoils the log. An update is sent to the wrong partition, and one nobody asked for."""
    held = spans(settings, [ENTITY_UPDATES.name])
    update = next(
        update for _, lying in read_bulk(settings, held) for update in unpack(lying.value or b"").updates
        if "user" in update.entities and update.fact.kind == "purchase"
    )  # fmt: skip
    forged = msgspec.structs.replace(update, entities=["user"], fact=msgspec.structs.replace(
        update.fact, ids={**update.fact.ids, "user": "user-forged"}))  # fmt: skip
    value = pack(EntityUpdates([msgspec.structs.replace(forged, offset=update.offset + 10**6)]))
    everywhere = [Outgoing(topic=ENTITY_UPDATES.name, value=value, partition=p) for p in range(settings.partitions)]
    wrong = [
        Outgoing(topic=ENTITY_UPDATES.name, value=pack(EntityUpdates([forged])), partition=p)
        for p in range(settings.partitions)
    ]
    publish_all(producer(settings), [*everywhere, *wrong])
    report = check_parity(settings, live=False)
    assert not report.sound
    assert set(report.pairs.extra_by_entity) == {"user"}
    assert "user-forged" in " ".join(report.examples())
