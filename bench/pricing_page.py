"""The figures of `python -m bench pricing` as one HTML page that carries Plotly within itself."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from bench.pricing_estimates import percent

STYLE = "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}table{border-collapse:collapse}" \
        "td,th{padding:.2rem .8rem;text-align:right}td:first-child,th:first-child{text-align:left}"  # fmt: skip


def render(figures: Mapping[str, Any]) -> str:
    """The page, whole."""
    from plotly.offline import get_plotlyjs

    plots = json.dumps({"gain": _gain(figures), "regret": _regret(figures)}).replace("<", "\\u003c")
    head = ["policy", "over list price", "of the oracle's gain", "sold out", "empty seats"]
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Prices that learn</title><style>{STYLE}</style>"
        f"<h1>Prices that learn</h1><p>{escape(_conditions(figures))}</p>"
        f"<table><tr>{''.join(f'<th>{one}</th>' for one in head)}</tr>{_rows(figures)}</table>"
        f"<div id='gain'></div><div id='regret'></div><h2>Other demand, ours</h2><table>{_scenarios(figures)}</table>"
        f"<h2>Demand that stands still, second half</h2><table>{_by_traffic(figures)}</table>"
        f"<h2>Under attack: how far the mean price moved, in list prices</h2><table>{_attacks(figures)}</table>"
        f"<script>{get_plotlyjs()}</script><script>const plots={plots};for(const id in plots)"
        "Plotly.newPlot(id,plots[id].data,plots[id].layout,{displayModeBar:false});</script></html>\n"
    )


def _conditions(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['events']} events of {figures['worlds']} worlds, {figures['offers_per_event']:.0f} offers an event "
        f"over {figures['days_on_sale']:.0f} days on average; 95 % intervals over worlds. {figures['conditions']}."
    )


def _cells(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _of(found: Mapping[str, float | None]) -> str:
    return f"{percent(found['mean'])} ({percent(found['low'])} to {percent(found['high'])})"


def _rows(figures: Mapping[str, Any]) -> str:
    return "".join(
        _cells(
            name, _of(one["uplift"]), _of(one["share_of_oracle_gain"]), str(one["sold_out"]), str(one["empty_seats"])
        )
        for name, one in figures["by_policy"].items()
    )


def _scenarios(figures: Mapping[str, Any]) -> str:
    head = _cells("demand", "over list price", "oracle", "second half", "of the oracle's gain there")
    return head + "".join(
        _cells(name, _of(one["uplift"]), _of(one["oracle_uplift"]), _of(one["uplift_late"]),
               _of(one["share_of_oracle_gain_late"]))
        for name, one in figures["scenarios"].items()
    )  # fmt: skip


def _by_traffic(figures: Mapping[str, Any]) -> str:
    return _cells("offers a ticket type", "over list price", "oracle", "of the oracle's gain") + "".join(
        _cells(str(one["offers_per_ticket_type"]), _of(one["uplift"]), _of(one["oracle_uplift"]),
               _of(one["share_of_oracle_gain"]))
        for one in figures["by_traffic"]
    )  # fmt: skip


def _attacks(figures: Mapping[str, Any]) -> str:
    return _cells("attack", "ours", "stated bound", "undefended", "plain Thompson") + "".join(
        _cells(f"{attack}, {share} of the offers", f"{by['ibook']:+.2%}", f"{by['bound']:.0%}",
               f"{by['undefended']:+.2%}", f"{by['plain Thompson']:+.2%}")
        for attack, shares in figures["under_attack"].items() for share, by in shares.items()
    )  # fmt: skip


def _gain(figures: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: one["uplift"] for name, one in figures["by_policy"].items() if name != "list price"}
    bars = {
        "type": "bar", "x": list(found), "y": [one["mean"] for one in found.values()],
        "error_y": {"type": "data", "symmetric": False, "array": [one["high"] - one["mean"] for one in found.values()],
                    "arrayminus": [one["mean"] - one["low"] for one in found.values()]},
    }  # fmt: skip
    return {"data": [bars], "layout": {"title": {"text": "Revenue over list price"}, "yaxis": {"tickformat": ".1%"}}}


def _regret(figures: Mapping[str, Any]) -> dict[str, Any]:
    lines = [
        {"type": "scatter", "mode": "lines", "name": name, "y": points,
         "x": [number / (len(points) - 1) for number in range(len(points))]}
        for name, points in figures["regret"].items()
    ]  # fmt: skip
    axes = {"xaxis": {"title": {"text": "share of an event's offers"}, "tickformat": ".0%"},
            "yaxis": {"title": {"text": "of all revenue at list price"}, "tickformat": ".1%"}}  # fmt: skip
    return {"data": lines, "layout": {"title": {"text": "Regret: what the oracle earned more so far"}, **axes}}
