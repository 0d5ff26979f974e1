"""The core's stages are told for what the worker computes, on states that lag behind."""

import numpy as np

import bench.core
from bench.core import BATCHES, Core, measure, row_by_row, traffic
from ibook.settings import Settings
from ibook.states import decode_state


def test_every_stage_is_told_per_batch_size_and_the_whole_row_by_row() -> None:
    figures = measure(past=60, purchases=30, seed=0)
    assert list(figures) == [*(f"batch_{size}" for size in BATCHES), "row_by_row"]
    for size in BATCHES:
        assert list(figures[f"batch_{size}"]) == ["decode", "refresh", "vectors", "decide", "encode"]
        assert all(us > 0 for us in figures[f"batch_{size}"].values())


def test_batches_of_any_size_give_the_vectors_of_row_by_row(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(bench.core, "LAG", 40)
    told = traffic(0, 300, 250)
    _, plain = row_by_row(told)
    for size in BATCHES:
        _, rows = Core(told, Settings()).run(size)
        np.testing.assert_array_equal(rows, plain)


def test_the_states_hold_the_past_and_nothing_of_what_is_to_be_decided() -> None:
    told = traffic(0, 60, 30)
    first = told.updates[0]
    states = [decode_state(payload) for payload in told.states.values()]
    assert max(state.latest_us for state in states) <= first.fact.occurred_us
    assert max(max(state.positions.values()) for state in states) < first.offset
