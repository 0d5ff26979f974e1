"""`ibook pricing` on real Kafka: what is ordered reaches a price API that follows, and earlier policies are found."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from cli.main import app
from ibook.codec import encode
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.edges.price_snapshots import SnapshotReader, Snapshots
from ibook.errors import ConfigurationError, IbookError
from ibook.messages import PricePolicy
from ibook.settings import Settings
from ibook.topics import EVENT_LISTINGS, PRICE_POLICIES
from tests.integration.test_pricing_workers import listing
from tests.workers import wait_until


def policy(version: int, minutes_ago: float) -> PricePolicy:
    return PricePolicy(
        message_id=f"p-{version}", occurred_at=datetime.now(UTC) - timedelta(minutes=minutes_ago), event_id="gala",
        version=version, slot_seconds=300.0, first_slot=1, currency="GBP", current=[], upcoming=[],
    )  # fmt: skip


@pytest.fixture
def followed(platform_settings: Settings) -> Iterator[Snapshots]:
    """What a price API knows that follows Kafka."""
    announced = [Outgoing(topic=EVENT_LISTINGS.name, key=b"gala", value=encode(listing("gala")))]
    for version, minutes_ago in ((1, 30), (2, 20), (3, 1)):
        announced.append(Outgoing(topic=PRICE_POLICIES.name, key=b"gala", value=encode(policy(version, minutes_ago))))
    publish(producer(platform_settings), announced)
    snapshots = Snapshots()
    reader = SnapshotReader(platform_settings, snapshots)
    reader.start()
    wait_until(lambda: snapshots.loaded, 60, "the topics to be read")
    yield snapshots
    reader.stop()


def ibook(settings: Settings, *arguments: str) -> str:
    """Run a command of `ibook pricing` in this process; a refusal is raised."""
    environment = {"IBOOK_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "IBOOK_DATA_DIR": str(settings.data_dir)}
    ran = CliRunner().invoke(app, ["pricing", *arguments], env=environment)
    if isinstance(ran.exception, IbookError):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def pinned(snapshots: Snapshots) -> int | None:
    control = snapshots.controls.get("gala")
    return control.policy.version if control and control.policy else None


def frozen(snapshots: Snapshots) -> list[str]:
    return sorted(key for key, control in snapshots.controls.items() if control.frozen)


def test_a_freeze_and_its_end_reach_those_who_follow(platform_settings: Settings, followed: Snapshots) -> None:
    assert ibook(platform_settings, "freeze", "gala", "--why", "calm") == "Prices of gala are frozen at list price.\n"
    wait_until(lambda: frozen(followed) == ["gala"], 30, "the freeze")
    ibook(platform_settings, "freeze", "--minutes", "30")
    wait_until(lambda: frozen(followed) == ["", "gala"], 30, "the freeze of all events")
    assert "frozen" in ibook(platform_settings, "status")
    assert "calm" in ibook(platform_settings, "status")
    played = replace(listing("played"), starts_at=datetime.now(UTC))
    publish(producer(platform_settings), [Outgoing(topic=EVENT_LISTINGS.name, key=b"played", value=encode(played))])
    assert "nothing: it has begun" in ibook(platform_settings, "status")
    assert ibook(platform_settings, "unfreeze") == "Prices of all events are learned again.\n"
    wait_until(lambda: frozen(followed) == [], 30, "the end of both")
    assert ibook(platform_settings, "unfreeze", "gala") == "Nothing was ordered of gala.\n"


def test_a_rollback_pins_an_earlier_policy_until_it_is_ended(platform_settings: Settings, followed: Snapshots) -> None:
    assert ibook(platform_settings, "rollback").startswith("gala follows policy 2 of ")
    wait_until(lambda: pinned(followed) == 2, 30, "the policy before")
    ibook(platform_settings, "rollback", "gala", "--to", "1")
    wait_until(lambda: pinned(followed) == 1, 30, "version 1")
    ibook(platform_settings, "rollback", "--ago", "10")
    wait_until(lambda: pinned(followed) == 2, 30, "the policy of ten minutes ago")
    assert "rolled back to 2" in ibook(platform_settings, "status")
    ibook(platform_settings, "unfreeze", "gala")
    wait_until(lambda: pinned(followed) is None, 30, "the end of the rollback")
    assert followed.policies["gala"].version == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(("freeze", "gela"), "Event 'gela' is not listed."),
     (("rollback", "gala", "--to", "7"), "There is no such earlier policy of gala; there are 1, 2, 3."),
     (("rollback", "--to", "1"), "A version belongs to an event: name it, or say --ago for all events."),
     (("rollback", "--ago", "90"), "There is no such earlier policy of all events.")],
)  # fmt: skip
def test_what_cant_be_ordered_is_one_sentence(
    platform_settings: Settings, followed: Snapshots, arguments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ibook(platform_settings, *arguments)
    assert str(caught.value) == sentence
    assert followed.controls == {}
