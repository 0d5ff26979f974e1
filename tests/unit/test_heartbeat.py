"""A heartbeat says nothing until every source has been heard of, and never goes back."""

import msgspec

from ibook.entities import Watermark
from ibook.heartbeat import (
    Heartbeat,
    Watermarks,
    decode_heartbeat,
    encode_heartbeat,
    expected_sources,
    offset_of,
    oldest,
)
from ibook.topics import FEATURE_SOURCES


def test_no_heartbeat_while_a_source_is_unheard_of() -> None:
    marks = Watermarks(frozenset({1, 2}))
    marks.hear([Watermark(1, 10, 500)])
    assert marks.heartbeat() is None
    marks.hear([Watermark(2, 0, 400)])
    assert marks.heartbeat() == Heartbeat(400, {1: 10, 2: 0})


def test_an_older_watermark_changes_nothing() -> None:
    marks = Watermarks(frozenset({1}))
    marks.hear([Watermark(1, 10, 500), Watermark(1, 9, 900)])
    assert marks.heartbeat() == Heartbeat(500, {1: 10})


def test_a_silent_source_at_its_end_stays_fresh() -> None:
    marks = Watermarks(frozenset({1}))
    marks.hear([Watermark(1, 10, 500)])
    marks.hear([Watermark(1, 10, 900)])
    assert marks.heartbeat() == Heartbeat(900, {1: 10})


def test_heartbeat_survives_its_encoding() -> None:
    beat = Heartbeat(123, {7: 9}, 41)
    assert decode_heartbeat(encode_heartbeat(beat)) == beat


def test_a_heartbeat_without_an_offset_can_be_read() -> None:
    assert decode_heartbeat(msgspec.msgpack.encode([123, {7: 9}])) == Heartbeat(123, {7: 9})


def test_the_same_marks_at_another_offset_are_another_heartbeat() -> None:
    marks = Watermarks(frozenset({1}))
    marks.hear([Watermark(1, 10, 500)])
    first, second = marks.heartbeat(7), marks.heartbeat(8)
    assert first is not None
    assert second is not None
    assert encode_heartbeat(first) != encode_heartbeat(second)


def test_a_missing_row_means_the_store_is_not_whole() -> None:
    assert oldest([Heartbeat(5, {}), None]) is None
    assert oldest([]) is None
    assert oldest([Heartbeat(5, {}), Heartbeat(3, {})]) == 3


def test_position_is_what_every_heartbeat_has_reached() -> None:
    assert offset_of([Heartbeat(0, {4: 9}), Heartbeat(0, {4: 7})], 4) == 7
    assert offset_of([Heartbeat(0, {4: 9}), None], 4) == -1
    assert offset_of([], 4) == -1


def test_every_partition_of_every_source_is_expected() -> None:
    assert len(expected_sources(4)) == 4 * len(FEATURE_SOURCES)
