"""Archives written by hand, without Kafka, for the tests of them."""

from datetime import UTC, date, datetime
from pathlib import Path

from ibook.edges import archive_files
from ibook.edges.archive import Archive
from ibook.edges.archive_files import list_files
from ibook.edges.archive_schema import DAY_MS
from ibook.edges.archive_writer import ArchiveWriter, Limits
from ibook.entities import EntityUpdates, Watermark, pack, source_slot, update_of
from ibook.topics import ENTITY_UPDATES, FRAUD_EVIDENCE
from tests.traffic import purchase

UPDATES, EVIDENCE_TOPIC = ENTITY_UPDATES.name, FRAUD_EVIDENCE.name
MIDNIGHT_MS = 20_000 * DAY_MS
DAY = date(2024, 10, 4)
NOW = datetime(2024, 10, 4, tzinfo=UTC)
NOTHING = pack(EntityUpdates([], [Watermark(0, 1, 1)]))


def record(*offsets: int) -> bytes:
    """A record with one update per offset of its source."""
    slot = source_slot("ticket-purchases", 0)
    return pack(
        EntityUpdates(
            [update_of(purchase(f"t-{n}", now=NOW), slot, n, MIDNIGHT_MS) for n in offsets], [Watermark(0, 1, 1)]
        )
    )


class Writing:
    """A writer whose time passes when told to."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.now = 0.0
        self.folder = folder
        self.writer = ArchiveWriter(folder, Limits(**limits), lambda: self.now)  # type: ignore[arg-type]
        following = archive_files.next_offsets(folder, UPDATES)
        self.writer.begin(UPDATES, 0, following.get(0, 0))

    def take(self, *offsets: int, value: bytes | None = None, ms: int = MIDNIGHT_MS) -> None:
        for offset in offsets:
            self.writer.take(UPDATES, 0, offset, ms, record(offset) if value is None else value)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.writer.flush_due()

    def files(self) -> list[tuple[int, int]]:
        return [(file.first, file.last) for file in list_files(self.folder / "entity_updates")]


def offsets_in(folder: Path) -> list[int]:
    return [each.offset for each in Archive(folder).updates()]
