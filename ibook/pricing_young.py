"""Offers so young that only those which sold are known: they are left out until the rest has lapsed as well.

A sale is known within minutes, an offer nobody took only when its quote has lapsed. Whoever counts both as they come in
believes for a quarter of an hour that everybody buys, at whatever price was shown last.
"""

from collections.abc import Mapping

YOUNG_SECONDS = 3600
"""Offers older than this, seen from the newest one, count however long quotes live."""
WIDTH_SECONDS = 10
"""How finely the time of young offers is kept."""

Cells = dict[int, dict[int, tuple[int, int]]]
"""Price in minor units -> start in seconds since the epoch -> offers, sales."""


def add_young(young: dict[str, Cells], ticket_type: str, price_minor: int, *, offered: int, tile: int,
              deltas: tuple[int, int], newest: int) -> None:  # fmt: skip
    """Count an offer made at `offered` in its stretch of time within its tile, while `newest` is not much later."""
    start = max(offered // WIDTH_SECONDS * WIDTH_SECONDS, tile)
    if start <= newest - YOUNG_SECONDS:
        return
    cells = young.setdefault(ticket_type, {}).setdefault(price_minor, {})
    offers, sales = cells.get(start, (0, 0))
    cells[start] = offers + deltas[0], sales + deltas[1]
    if cells[start] == (0, 0):
        del cells[start]


def drop_aged(young: dict[str, Cells], newest: int) -> None:
    """Forget what is no longer young."""
    for ticket_type, prices in list(young.items()):
        for price, cells in list(prices.items()):
            for start in [start for start in cells if start <= newest - YOUNG_SECONDS]:
                del cells[start]
            if not cells:
                del prices[price]
        if not prices:
            del young[ticket_type]


def without_young(prices: Mapping[str, Cells], young: Mapping[str, Cells], *, before: float,
                  tile_seconds: int) -> dict[str, Cells]:  # fmt: skip
    """The sums of the offers made before an instant, in seconds since the epoch, by ticket type.

    >>> sums, young = {"stalls": {500: {0: (9, 4)}}}, {"stalls": {500: {10: (2, 1), 30: (3, 3)}}}
    >>> without_young(sums, young, before=35.0, tile_seconds=100)
    {'stalls': {500: {0: (6, 1)}}}
    """
    known = {name: {price: dict(tiles) for price, tiles in of.items()} for name, of in prices.items()}
    for name, of in young.items():
        for price, cells in of.items():
            for start, (offers, sales) in cells.items():
                tile = start // tile_seconds * tile_seconds
                if start + WIDTH_SECONDS > before and tile in known.get(name, {}).get(price, {}):
                    total = known[name][price][tile]
                    known[name][price][tile] = total[0] - offers, total[1] - sales
    return known
