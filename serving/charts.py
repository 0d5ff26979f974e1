"""Small charts as SVG: prices and sales by slot, and what is believed of each price. They load and run nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ibook.money import amount

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 12, 24
FLOOR = HEIGHT - BOTTOM
BARS = 0.35
"""Share of the height that the bars of sales may take."""


@dataclass(frozen=True)
class Point:
    """A slot: its place on the axis, when it began, its price in minor units, tickets sold, and all that in words."""

    place: int
    begins: str
    price_minor: int
    tickets: int
    title: str


@dataclass(frozen=True)
class _Scale:
    """From slots and prices to places in the picture."""

    first: int
    last: int
    low: int
    high: int

    def x(self, place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (place - self.first) / (self.last - self.first)

    def y(self, price: float) -> float:
        return FLOOR - (FLOOR - TOP) * (price - self.low) / (self.high - self.low)


def prices_chart(
    points: Sequence[Point], *, list_price_minor: int, low_minor: int, high_minor: int, currency: str, label: str
) -> Markup:
    """Price as steps, sales as bars below, the list price dashed; from `low_minor` to `high_minor`."""
    if not points:
        return Markup("")
    shown = [low_minor, high_minor, list_price_minor, *(point.price_minor for point in points)]
    scale = _Scale(points[0].place, points[-1].place + 1, min(shown), max(*shown, min(shown) + 1))
    most = max(1, *(point.tickets for point in points))
    bars = "".join(_bar(scale, point, point.tickets / most) for point in points if point.tickets > 0)
    dots = "".join(_dot(scale.x(point.place + 0.5), scale.y(point.price_minor), point.title) for point in points)
    steps = " ".join(
        f"{scale.x(place):.1f},{scale.y(point.price_minor):.1f}"
        for point in points
        for place in (point.place, point.place + 1)
    )
    usual = scale.y(list_price_minor)
    base = f'<line class="list" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{usual:.1f}" y2="{usual:.1f}"/>'
    ticks = "".join(
        _tick(price, currency, scale.y(price)) for price in sorted({scale.low, list_price_minor, scale.high})
    )
    times = _time(LEFT, "start", points[0].begins) + _time(WIDTH - RIGHT, "end", points[-1].begins)
    return _svg(f'{bars}{base}<polyline class="line" points="{steps}"/>{dots}{ticks}{times}', HEIGHT, label)


def _bar(scale: _Scale, point: Point, share: float) -> str:
    height = (FLOOR - TOP) * BARS * share
    width = max(1.0, scale.x(point.place + 1) - scale.x(point.place) - 1)
    return (
        f'<rect class="bar" x="{scale.x(point.place):.1f}" y="{FLOOR - height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{escape(point.title)}</title></rect>'
    )


def _dot(x: float, y: float, title: str) -> str:
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(title)}</title></circle>'


def beliefs_chart(
    prices_minor: Sequence[int],
    intervals: Sequence[tuple[float, float]],
    means: Sequence[float],
    *,
    currency: str,
    label: str,
) -> Markup:
    """A row per price: what an offer at it is expected to earn as a bar, and as a line the interval of the share of
    offers that sell. How likely a price is drawn is not shown: propensities stay in the journal."""
    row, middle = 24, WIDTH * 0.52
    full = middle - LEFT - 100
    earned = [price * mean for price, mean in zip(prices_minor, means, strict=True)]
    most = max(1e-9, *earned)
    widest = max(1e-9, *(high for _, high in intervals))

    def x(share: float) -> float:
        return middle + 24 + (WIDTH - RIGHT - middle - 24) * share / widest

    rows = [
        f'<g transform="translate(0 {TOP + row * number})">'
        f'<text x="{LEFT - 6}" y="13" text-anchor="end">{amount(price, currency)}</text>'
        f'<rect class="bar" x="{LEFT}" y="3" width="{full * earns / most:.1f}" height="12"/>'
        f'<text x="{LEFT + full * earns / most + 4:.1f}" y="13">{amount(round(earns), currency)}</text>'
        f'<text x="{middle + 14:.1f}" y="13" text-anchor="end">{mean:.1%}</text>'
        f'<line class="line" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="9" y2="9"/>'
        f"{_dot(x(mean), 9, f'{mean:.1%} of offers sell ({low:.1%} to {high:.1%})')}</g>"
        for number, (price, earns, (low, high), mean) in enumerate(
            zip(prices_minor, earned, intervals, means, strict=True)
        )
    ]
    return _svg("".join(rows), TOP * 2 + row * len(rows), label)


def _tick(price: int, currency: str, y: float) -> str:
    return f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{amount(price, currency)}</text>'


def _time(x: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(content: str, height: int, label: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{content}</svg>')
