"""Distinct counts of sums that are kept and added to are those of sums made at once."""

from random import Random

import pytest

from ibook.finishing import Sums
from ibook.states import Tile

CAP = 16


def tiles(rng: Random, count: int) -> list[Tile]:
    """Tiles with some, with as many as a tile keeps, or with no hashes; some hashes lie in several."""
    drawn = [rng.randrange(2**32) for _ in range(60)]
    sizes = [rng.choice((0, 1, 5, CAP)) for _ in range(count)]
    return [
        Tile(start, 0, {}, {0: sorted(rng.sample(drawn, size))} if size else {}, {}) for start, size in enumerate(sizes)
    ]


def by_definition(parts: list[Tile]) -> int:
    """All hashes; where a tile is full, what those up to the smallest of the largest make of the whole range."""
    hashes = {each for tile in parts for each in tile.sets.get(0, [])}
    full = [tile.sets[0][-1] for tile in parts if len(tile.sets.get(0, [])) == CAP]
    known = [each for each in hashes if full and each <= min(full)]
    return max(len(hashes), round((len(known) - 1) * 2**32 / min(full))) if full else len(hashes)


@pytest.mark.parametrize("seed", range(40))
def test_kept_sums_count_as_those_made_at_once(seed: int) -> None:
    rng = Random(seed)
    older, young = tiles(rng, rng.randrange(12)), tiles(rng, rng.randrange(4))
    at_once, kept, more = Sums({}, CAP), Sums({}, CAP), Sums({}, CAP)
    for tile in older:
        kept.add(tile)
    for tile in young:
        more.add(tile)
    for _ in range(2):  # the second time the union is there
        assert kept.joined(more, [0]).distinct(0) == by_definition(older + young)
    assert kept.distinct(0) == by_definition(older)
    for tile in older + young:
        at_once.add(tile)
    assert at_once.distinct(0) == by_definition(older + young)
