"""States count with the heartbeats that were read with them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ibook.clock import ManualClock
from ibook.edges.feature_reader import FeatureReader
from ibook.entities import EntityName
from ibook.heartbeat import Heartbeat, encode_heartbeat

KEYS: dict[EntityName, list[str]] = {"card": ["c"], "user": []}
BEAT = Heartbeat(200, {1: 20}, 5)


class Store:
    """One partition, with what its heartbeat row holds."""

    def __init__(self, beat: bytes | None) -> None:
        self._beat = beat

    def read(
        self, keys: Mapping[EntityName, Sequence[str]], n_partitions: int
    ) -> tuple[dict[EntityName, list[bytes | None]], list[bytes | None]]:
        return {entity: [b"state" for _ in wanted] for entity, wanted in keys.items()}, [self._beat] * n_partitions


def reader(beat: bytes | None) -> FeatureReader:
    return FeatureReader(Store(beat), 1, 5.0, ManualClock(datetime(2026, 3, 1, tzinfo=UTC)))  # type: ignore[arg-type]


async def test_states_are_as_old_as_the_heartbeat_read_with_them() -> None:
    reading = await reader(encode_heartbeat(BEAT)).read(KEYS)
    assert reading.heartbeats == [BEAT]
    assert reading.states == {"card": [b"state"], "user": []}
    assert reading.staleness_seconds(1_000_200) == 1.0


async def test_a_store_without_a_heartbeat_is_read_and_vouched_for_by_nobody() -> None:
    assert (await reader(None).read(KEYS)).staleness_seconds(300) is None


async def test_a_heartbeat_that_can_not_be_read_vouches_for_nothing() -> None:
    assert (await reader(b"\xc1").read(KEYS)).staleness_seconds(300) is None
