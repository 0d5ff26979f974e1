"""A chunk of rows of several requests: what it needs of the store, and its decisions. Plain work, done in a thread."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ibook.edges.feature_reader import Reading
from ibook.edges.scoring import Asked, Batch, Scorer, Vectors
from ibook.entities import EntityName
from serving.score_request import Asking

Wanted = dict[EntityName, list[str]]
"""Entities to ask the store for."""


class Piece(NamedTuple):
    """Rows of one request."""

    asking: Asking
    rows: list[Asked]


class Chunk(NamedTuple):
    """What is decided together."""

    pieces: list[Piece]
    wanted: Wanted

    @property
    def n_rows(self) -> int:
        """Rows to decide."""
        return sum(len(piece.rows) for piece in self.pieces)


def chunk_of(turns: Sequence[tuple[Asking, int]], now_us: int) -> Chunk:
    """The next rows of each request, so many of each."""
    pieces = [Piece(asking, asking.take(n_rows)) for asking, n_rows in turns]
    wanted: dict[EntityName, dict[str, None]] = {}
    for asking, rows in pieces:
        for asked in rows:
            for entity, key in asked.keys.items():
                if asking.own.is_due(entity, key, now_us):
                    wanted.setdefault(entity, {})[key] = None
    return Chunk(pieces, {entity: list(keys) for entity, keys in wanted.items()})


def decide(
    chunk: Chunk, reading: Reading | None, scorer: Scorer, now_us: int
) -> tuple[Batch, list[tuple[Asking, int]]]:
    """The decisions, and whose row each of them is; rows that make our code fail have their answer already.

    `reading` is what was `wanted`; None when the store did not answer in time.
    """
    states, together = _states(chunk.wanted, reading), Vectors([], [], [], [])
    owners: dict[int, tuple[Asking, int]] = {}
    for asking, rows in chunk.pieces:
        _refresh(asking, rows, states, now_us)
        found = scorer.vectors(rows, asking.own)
        together.purchases.extend(found.purchases)
        together.rows.extend(found.rows)
        together.positions.extend(found.positions)
        together.rejected.extend(found.rejected)
        owners |= {id(asked.purchase): (asking, asked.source[2]) for asked in rows}
    batch = scorer.decide_all(together, reading)
    for asked, error in batch.rejected:
        asking, place = owners[id(asked.purchase)]
        asking.answer(place, error)
    return batch, [owners[id(scored.purchase)] for scored in batch.scored]


def _states(wanted: Wanted, reading: Reading | None) -> Mapping[tuple[EntityName, str], bytes | None]:
    if reading is None:
        return {}
    return {
        (entity, key): state
        for entity, keys in wanted.items()
        for key, state in zip(keys, reading.states[entity], strict=True)
    }


def _refresh(
    asking: Asking, rows: Sequence[Asked], states: Mapping[tuple[EntityName, str], bytes | None], now_us: int
) -> None:
    """Take over the states that were read; of others what is known stays, be it nothing."""
    for asked in rows:
        for entity, key in asked.keys.items():
            if (entity, key) in states:
                asking.own.refresh(entity, key, states[entity, key], now_us)
            else:
                asking.own.keep(entity, key)
