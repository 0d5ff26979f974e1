"""Plots of verdicts against the truth."""

from collections.abc import Sequence

from simulator.report.paper import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    TEAL,
    Plot,
    axis,
    clock,
    colour_of,
    moments,
    share_axis,
    whiskers,
    words,
)
from simulator.validators import Figures
from simulator.validators.curves import BINS
from simulator.validators.measure import Share
from simulator.validators.traffic import Traffic


def plots(figures: Figures) -> list[Plot]:
    """Those there are figures for."""
    every = (
        traffic(figures.traffic), scores(figures), precision_recall(figures), recall_by_pattern(figures),
        false_declines(figures), money(figures),
    )  # fmt: skip
    return [plot for plot in every if plot is not None]


def traffic(found: Traffic) -> Plot | None:
    """All purchases above, those of attacks below."""
    if not found.purchases:
        return None
    n = len(next(iter(found.purchases.values())))
    unit, length = clock(n * found.slice_seconds)
    slice_ = found.slice_seconds / length
    at = [round(number * slice_, 4) for number in range(n)]
    everything = [sum(counts) / slice_ for counts in zip(*found.purchases.values(), strict=True)]
    attacks = {name: counts for name, counts in found.purchases.items() if name != "honest"}
    colours = colour_of(tuple(found.purchases))
    below = [
        {"type": "bar", "x": [begin + slice_ / 2 for begin in at], "y": [count / slice_ for count in counts],
         "name": words(name), "marker": {"color": colours[name]}, "yaxis": "y2"}
        for name, counts in attacks.items()
    ]  # fmt: skip
    above = {"type": "scatter", "mode": "lines", "x": at, "y": everything, "name": "all purchases", "fill": "tozeroy",
             "line": {"color": BLUE, "width": 1.5, "shape": "hv"}}  # fmt: skip
    layout = {
        "barmode": "stack", "bargap": 0, "xaxis": axis(f"{unit}s of the run", anchor="y2"),
        "yaxis": axis("all", domain=[0.6, 1], rangemode="tozero"),
        "yaxis2": axis("attacks", domain=[0, 0.52], rangemode="tozero"),
        **moments([(seconds / length, what) for seconds, what in found.changes]),
    }  # fmt: skip
    told = "; ".join(f"{number} {what}" for number, (_, what) in enumerate(found.changes, 1))
    return Plot(
        name="traffic", title="Purchases by what they really were", wide=True, height=380,
        says=f"Purchases per {unit}: all above, attacks and abuse alone below." + (f" Turns: {told}." if told else ""),
        data=[above, *below], layout=layout,
    )  # fmt: skip


def scores(figures: Figures) -> Plot | None:
    """A heat map: a row for each pattern."""
    rows = figures.accuracy.scores
    if not rows:
        return None
    names = sorted(rows, key=lambda name: (name != "honest", name), reverse=True)
    shares = [[count / max(1, sum(rows[name].counts)) for count in rows[name].counts] for name in names]
    data = {
        "type": "heatmap", "x": [(number + 0.5) / BINS for number in range(BINS)], "y": [words(name) for name in names],
        "z": shares, "zmin": 0,
        "colorscale": [[0, "rgba(61,143,209,0)"], [0.15, "rgba(61,143,209,0.45)"], [1, "rgba(61,143,209,1)"]],
        "showscale": False, "xgap": 1, "ygap": 2,
        "hovertemplate": "%{y}: %{z:.1%} score near %{x:.2f}<extra></extra>",
    }  # fmt: skip
    return Plot(
        name="scores", title="Scores by pattern", height=330, data=[data],
        says="Each row is one pattern's scores, darker where more of them lie. Good: honest left, attacks right.",
        layout={"xaxis": axis("score", range=[0, 1]), "yaxis": axis(showgrid=False)},
    )  # fmt: skip


def precision_recall(figures: Figures) -> Plot | None:
    """The curve, what lot would reach, and where verdicts were."""
    found = figures.accuracy
    if not found.curve.recall:
        return None
    base = found.fraud / (found.fraud + found.honest)
    data = [
        {"type": "scatter", "mode": "lines", "x": found.curve.recall, "y": found.curve.precision, "name": "scores",
         "line": {"color": BLUE, "width": 2.5}, "fill": "tozeroy", "fillcolor": "rgba(61,143,209,0.12)"},
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [base, base], "name": "by lot",
         "line": {"color": GREY, "dash": "dot"}},
    ]  # fmt: skip
    if found.recall.value is not None and found.precision.value is not None:
        data.append({
            "type": "scatter", "mode": "markers", "x": [found.recall.value], "y": [found.precision.value],
            "name": "verdicts", "marker": {"color": RED, "size": 11, "symbol": "diamond"},
        })  # fmt: skip
    return Plot(
        name="precision-recall", title=f"Precision and recall, average precision {found.average_precision:.2f}",
        says="What scores can do at every threshold, and where the verdicts given (rules included) stand.",
        height=330, data=data,
        layout={"xaxis": share_axis("recall", range=[0, 1.02]), "yaxis": share_axis("precision", range=[0, 1.02])},
    )  # fmt: skip


def recall_by_pattern(figures: Figures) -> Plot | None:
    """Fraud and abuse, each by its own colour."""
    patterns = figures.accuracy.patterns
    if not patterns:
        return None
    names = sorted(patterns, key=lambda name: (patterns[name].kind, patterns[name].flagged.value or 0.0))
    data = [
        _bars([name for name in names if patterns[name].kind == kind], {n: patterns[n].flagged for n in names}, label,
              colour)
        for kind, label, colour in (("fraud", "payment fraud", ORANGE), ("abuse", "abuse", TEAL))
    ]  # fmt: skip
    return Plot(
        name="recall", title="Caught, by pattern", height=max(220, 70 + 30 * len(names)), data=data,
        says="Share flagged with its 95 % interval. Abuse never becomes a chargeback, so labels hardly teach it.",
        layout={"xaxis": share_axis("flagged", range=[0, 1.02]), "yaxis": axis(showgrid=False), "bargap": 0.35},
    )  # fmt: skip


def false_declines(figures: Figures) -> Plot | None:
    """Honest purchases by what they look like."""
    look_alikes = figures.accuracy.look_alikes
    if not look_alikes:
        return None
    names = sorted(look_alikes, key=lambda name: look_alikes[name].turned_down.value or 0.0)
    data = [
        _bars(names, {name: look_alikes[name].flagged for name in names}, "flagged", "rgba(138,145,158,0.45)"),
        _bars(names, {name: look_alikes[name].turned_down for name in names}, "turned down in the end", RED),
    ]
    return Plot(
        name="false-declines", title="Honest buyers in trouble, by what they look like", data=data,
        height=max(240, 80 + 38 * len(names)),
        says="Shares with 95 % intervals; “none” are those who look like nothing.",
        layout={"xaxis": share_axis(rangemode="tozero"), "yaxis": axis(showgrid=False), "bargap": 0.3},
    )  # fmt: skip


def money(figures: Figures) -> Plot | None:
    """What became of the money fraud was after, and what it cost honest buyers."""
    found = figures.accuracy.money
    rows = (
        ("turned down by us", found.saved_minor, TEAL), ("lost", found.lost_minor, RED),
        ("declined by the issuer", found.declined_by_issuer_minor, GREY), ("still open", found.open_minor, "#c2a83e"),
        ("honest, turned down", found.honest_turned_down_minor, ORANGE),
    )  # fmt: skip
    if not any(amount for _, amount, _ in rows):
        return None
    data = {
        "type": "bar", "orientation": "h", "y": [name for name, _, _ in reversed(rows)],
        "x": [amount / 100 for _, amount, _ in reversed(rows)],
        "marker": {"color": [colour for _, _, colour in reversed(rows)]},
        "hovertemplate": "%{y}: %{x:,.2f}<extra></extra>",
    }  # fmt: skip
    return Plot(
        name="money", title="Money of payment fraud", height=260, data=[data],
        says="What fraudsters tried to pay with, and below it what honest buyers were not allowed to.",
        layout={"xaxis": axis("amount", tickformat=",.0f"), "yaxis": axis(showgrid=False), "bargap": 0.35},
    )  # fmt: skip


def _bars(names: Sequence[str], shares: dict[str, Share], label: str, colour: str) -> dict[str, object]:
    found = [(name, shares[name]) for name in names if shares[name].value is not None]
    values = [share.value or 0.0 for _, share in found]
    return {
        "type": "bar", "orientation": "h", "name": label, "y": [words(name) for name, _ in found], "x": values,
        "marker": {"color": colour}, "customdata": [str(share) for _, share in found],
        "hovertemplate": "%{y}: %{customdata}, %{x:.1%}<extra></extra>",
        **whiskers(values, [s.low or 0.0 for _, s in found], [s.high or 0.0 for _, s in found], sideways=True),
    }  # fmt: skip
