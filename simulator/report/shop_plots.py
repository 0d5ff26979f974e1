"""Plots of speed, prices, and what was done to the messages."""

from simulator.report.paper import BLUE, GREY, ORANGE, RED, TEAL, Plot, across, axis, whiskers, words
from simulator.validators import Figures
from simulator.validators.latency import Latency

PROMISED_MS = 200.0
TICKS_MS = [value * 10**power for power in range(5) for value in (1, 2, 5)]
TICKET_TYPES = 24
"""Shown of the prices: those most people looked at."""
NAMES = {"list": "list prices", "shown": "prices shown", "best_fixed": "best fixed prices", "oracle": "oracle"}


def plots(figures: Figures) -> list[Plot]:
    """Those there are figures for."""
    every = (
        latency_over_time(figures.latency), latency_histogram(figures.latency), revenue(figures), prices(figures),
        degradation(figures),
    )  # fmt: skip
    return [plot for plot in every if plot is not None]


def latency_over_time(found: Latency) -> Plot | None:
    """Percentiles of each slice."""
    if not found.over_time:
        return None
    at = [each.second for each in found.over_time]
    rows = (
        ("p99", [each.p99_ms for each in found.over_time], RED),
        ("p95", [each.p95_ms for each in found.over_time], ORANGE),
        ("p50", [each.p50_ms for each in found.over_time], BLUE),
    )
    data = [
        {"type": "scatter", "mode": "lines", "x": at, "y": values, "name": name, "line": {"color": colour, "width": 2}}
        for name, values, colour in rows
    ]
    return Plot(
        name="latency-over-time", title="Purchase to readable verdict", data=data,
        says="Percentiles per slice of the run, in milliseconds, on a logarithmic scale.",
        layout={"xaxis": axis("seconds of the run"), "yaxis": axis("ms", type="log", tickvals=TICKS_MS), **_promise()},
    )  # fmt: skip


def _promise() -> dict[str, object]:
    """On a logarithmic axis a shape stands at the value, its words at the exponent."""
    from math import log10

    line = across(PROMISED_MS, f"the plan's {PROMISED_MS:.0f} ms")
    line["annotations"][0]["y"] = log10(PROMISED_MS)
    return line


def latency_histogram(found: Latency) -> Plot | None:
    """Bars of growing width, drawn as equal ones."""
    if not found.histogram:
        return None
    last = max(number for number, bar in enumerate(found.histogram) if bar.n)
    bars = found.histogram[: last + 1]
    names = [f"{bar.up_to_ms:g}" if bar.up_to_ms is not None else "more" for bar in bars]
    late = [bar.up_to_ms is None or bar.up_to_ms > PROMISED_MS for bar in bars]
    data = {
        "type": "bar", "x": names, "y": [bar.n for bar in bars], "hovertemplate": "up to %{x} ms: %{y}<extra></extra>",
        "marker": {"color": [RED if is_late else BLUE for is_late in late]},
    }  # fmt: skip
    return Plot(
        name="latency-histogram", title="How long verdicts took", data=[data],
        says=f"Verdicts per span of milliseconds; red ones are beyond the plan's {PROMISED_MS:.0f} ms.",
        layout={"xaxis": axis("up to ms", type="category", tickangle=0), "yaxis": axis("verdicts"), "bargap": 0.08},
    )  # fmt: skip


def revenue(figures: Figures) -> Plot | None:
    """Expected revenue of each policy, list prices being 100 %."""
    found = figures.business.revenue
    if not found or not found["list"].value:
        return None
    base, labels = found["list"].value, _policies(figures)
    names, colours = list(labels)[::-1], {"oracle": ORANGE, "best_fixed": TEAL, "shown": BLUE, "list": GREY}
    values = [found[name].value / base for name in names]
    data = {
        "type": "scatter", "mode": "markers+text", "y": list(labels.values())[::-1], "x": values,
        "marker": {"color": [colours[name] for name in names], "size": 13},
        "text": [f"{value:.1%}" for value in values],
        "textposition": "top center", "cliponaxis": False, "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
        **whiskers(values, [found[name].low / base for name in names], [found[name].high / base for name in names],
                   sideways=True),
    }  # fmt: skip
    same = " An oracle's prices are the best fixed ones: the same within one day." if "oracle" not in labels else ""
    room = 0.15 * max(0.1, max(values) - min(values))
    return Plot(
        name="revenue", title="Expected revenue, list prices = 100 %", data=[data],
        says="By the hidden demand of the visitors who came; 95 % intervals over "
             f"{figures.business.redraws} redraws.{same}",
        layout={"xaxis": axis(tickformat=".0%", range=[min(values) - room, max(values) + room]),
                "yaxis": axis(range=[-0.5, len(names) - 0.3])},
    )  # fmt: skip


def _policies(figures: Figures) -> dict[str, str]:
    """What is drawn, by its name: two policies that are the same are one."""
    if not figures.business.oracle_is_best_fixed:
        return NAMES
    return {name: label for name, label in NAMES.items() if name != "oracle"} | {"best_fixed": "best fixed = oracle"}


def prices(figures: Figures) -> Plot | None:
    """For each ticket type: what is allowed, what was shown, what would be best."""
    rows = figures.business.prices[:TICKET_TYPES][::-1]
    if not rows:
        return None
    names = [words(f"{row.event}, {row.ticket_type}") for row in rows]

    def ratio(values: list[float]) -> list[float]:
        return [value / row.list_price_minor for value, row in zip(values, rows, strict=True)]

    floor, cap = ratio([row.floor_minor for row in rows]), ratio([row.cap_minor for row in rows])
    data = [
        {"type": "bar", "orientation": "h", "y": names, "base": floor, "name": "allowed", "hoverinfo": "skip",
         "x": [top - bottom for bottom, top in zip(floor, cap, strict=True)],
         "marker": {"color": "rgba(138,145,158,0.22)"}, "width": 0.5},
        _dots(names, ratio([row.best_minor for row in rows]), "best fixed price", TEAL, "diamond"),
        _dots(names, ratio([row.mean_shown_minor for row in rows]), "shown, mean", BLUE, "circle"),
    ]  # fmt: skip
    return Plot(
        name="prices", title="Prices shown and best prices, list price = 1", wide=True, data=data,
        height=110 + 22 * len(rows),
        says=f"The {len(rows)} ticket types most people looked at. {_at_cap(figures)}",
        layout={"xaxis": axis("of the list price"), "yaxis": axis(showgrid=False)},
    )  # fmt: skip


def _dots(names: list[str], values: list[float], label: str, colour: str, symbol: str) -> dict[str, object]:
    return {
        "type": "scatter", "mode": "markers", "y": names, "x": values, "name": label,
        "marker": {"color": colour, "symbol": symbol, "size": 10},
        "hovertemplate": "%{y}: %{x:.2f} of list<extra></extra>",
    }  # fmt: skip


def _at_cap(figures: Figures) -> str:
    found = figures.business
    return f"{found.events_with_best_price_at_cap} of {found.events} events have their best price at the cap."


def degradation(figures: Figures) -> Plot | None:
    """Messages per kind of harm."""
    counts = figures.degradation.counts
    if not counts:
        return None
    names = sorted(counts, key=lambda name: counts[name])
    data = {"type": "bar", "orientation": "h", "y": [words(name) for name in names],
            "x": [counts[name] for name in names],
            "marker": {"color": ORANGE}, "hovertemplate": "%{y}: %{x}<extra></extra>"}  # fmt: skip
    return Plot(
        name="degradation", title="What was done to messages on their way", data=[data],
        height=max(220, 80 + 30 * len(names)), says="Messages per kind of harm.",
        layout={"xaxis": axis("messages"), "yaxis": axis(showgrid=False), "bargap": 0.35},
    )  # fmt: skip
