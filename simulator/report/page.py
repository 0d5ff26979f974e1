"""The report's page: one HTML file that carries its style, its data and Plotly within itself."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibook.clock import from_us
from simulator.judgement import Judgement, Result, RunJudgement
from simulator.report import fraud_plots, shop_plots
from simulator.report.paper import Plot
from simulator.validators.accuracy import why_plain_accuracy_flatters
from simulator.validators.measure import Estimate, Share, Unit

if TYPE_CHECKING:
    from markupsafe import Markup

FOLDER = Path(__file__).parent
NONE = "–"


def render(judgement: Judgement) -> str:
    """The page of a judgement, whole. Everything that comes from data is escaped by the template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(amount=amount, share=share, estimate=estimate, money=money, written=written)
    runs = [_section(number, run) for number, run in enumerate(judgement.runs)]
    return environment.get_template("page.html.jinja").render(
        judgement=judgement, runs=runs, counts=_counts([each for run in judgement.runs for each in run.results]),
        style=Markup((FOLDER / "page.css").read_text()), script=Markup((FOLDER / "page.js").read_text()),
        plotly=Markup(get_plotlyjs()),
        plots=_as_json({f"{run['id']}-{plot.name}": _figure(plot) for run in runs for plot in run["plots"]}),
    )  # fmt: skip


def _section(number: int, run: RunJudgement) -> dict[str, Any]:
    """What the template needs of one run."""
    figures = run.figures
    return {
        "id": f"run-{number}", "counts": _counts(run.results), "run": run, "figures": figures,
        "when": from_us(run.conditions.started_us),
        "measured": [result for result in run.results if result.verdict != "not measured"],
        "unmeasured": [result for result in run.results if result.verdict == "not measured"],
        "plots": [*fraud_plots.plots(figures), *shop_plots.plots(figures)],
        "flatters": why_plain_accuracy_flatters(figures.accuracy) if run.conditions.decided_by == "platform" else "",
    }  # fmt: skip


def _counts(results: Sequence[Result]) -> str:
    """How many came to which verdict, in words."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in ("failed", "passed", "not measured") if counts[verdict]
    )


def _figure(plot: Plot) -> dict[str, Any]:
    return {"data": plot.data, "layout": plot.layout, "height": plot.height}


def _as_json(value: Any) -> "Markup":
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


# ----------------------------------------------------------------------------------------------------------- filters
def amount(value: float | None, unit: Unit) -> str:
    """A value with its unit.

    >>> amount(0.1234, "share"), amount(-0.05, "change"), amount(12.4, "ms"), amount(None, "ms")
    ('12.3 %', '-5.0 %', '12 ms', '–')
    """
    if value is None:
        return NONE
    value = round(value, 9) + 0.0  # no "-0.0 %"
    match unit:
        case "share":
            return f"{value * 100:.1f} %"
        case "change":
            return f"{value * 100:+.1f} %"
        case "score":
            return f"{value:.2f}"
        case "count":
            return f"{value:,.0f}"
        case "seconds":
            return f"{value:.1f} s"
        case "ms":
            return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def money(minor: int) -> str:
    """An amount of money, without its minor units.

    >>> money(1234567)
    '12,346'
    """
    return f"{minor / 100:,.0f}"


def share(found: Share) -> str:
    """A share in percent."""
    return amount(found.value, "share")


def estimate(found: Estimate | None, unit: Unit) -> str:
    """An estimate with its interval."""
    if found is None:
        return NONE
    return f"{amount(found.value, unit)} ({amount(found.low, unit)} to {amount(found.high, unit)})"


def written(value: datetime | Result) -> str:
    """A time or a threshold in words."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{'≤' if value.bound == 'at most' else '≥'} {amount(value.threshold, value.unit)}"
