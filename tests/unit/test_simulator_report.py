"""The report: whole without a network, faithful to the judgement, and safe with whatever names it is given."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ibook.errors import ConfigurationError
from simulator.judgement import Judgement, judge, load_thresholds
from simulator.record import Change, Degradation, RunRecord, read_records, this_machine, write_records
from simulator.report import write_json, write_report
from tests.simulated_runs import START_US, event, fraud, purchase, purchases, run

EVIL = '</script><img src="http://evil.example/x.png" onerror="alert(1)">'
VOID = {"meta", "link", "img", "br", "hr", "input"}


def everything() -> list[RunRecord]:
    """A run of each kind of trouble, and one with hostile names."""
    return [
        run(changes=(Change(what="people pay less", at_us=START_US + 20_000_000, is_drift=True),)),
        run(scenario="system-degradation", missing=2, conflicting=1, seed=8,
            degradation=Degradation(counts={"delayed": 12, "duplicated": 3}, identifiable=4, answered=3)),
        run(scenario=EVIL, description=EVIL, seed=9, changes=(Change(what=EVIL, at_us=START_US),),
            degradation=Degradation(counts={EVIL: 1}),
            events=(msgspec.structs.replace(event(0), name=EVIL), event(1)),
            purchases=(*purchases(), *(fraud(5_000 + n, EVIL) for n in range(40)),
                       *(purchase(6_000 + n, look_alike=EVIL) for n in range(40)))),
        run(scenario="nothing", purchases=(), prices=(), markets=(), events=(), messages={}),
    ]  # fmt: skip


class Page(HTMLParser):
    """What a browser would load, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.images = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.loads += [held[name] or "" for name in ("src", "href") if name in held]
        self.ids += [held["id"] or ""] if "id" in held else []
        self.images += tag == "img"
        assert not [name for name in held if name.startswith("on")], "no handlers in attributes"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    return judge(everything(), load_thresholds())


@pytest.fixture(scope="module")
def html(judgement: Judgement, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "deep" / "run.html"
    write_report(path, judgement)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def figures(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.scripts[0])
    return found


def visible(html: str) -> str:
    """The page without what is inside its scripts and its style."""
    return re.sub(r"<(script|style)[^>]*>.*?</\1>", "", html, flags=re.DOTALL)


def test_every_element_is_closed_and_no_id_is_given_twice(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_loaded_from_anywhere(html: str, page: Page) -> None:
    assert all(link.startswith(("#", "data:")) for link in page.loads), page.loads
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]
    assert html.count("plotly.js v") == 1, "one copy of Plotly, inline"


def test_names_from_data_stay_names(html: str, page: Page) -> None:
    assert page.images == 0
    assert EVIL not in html
    assert "&lt;img src=" in visible(html)
    assert not re.search("[<>&]", page.scripts[0]), "nothing in the data can end its element"
    assert not re.search(r"<(?!extra|/extra|br|b>)", json.dumps(list(_strings(figures(page)))))


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []


def test_what_failed_stands_at_the_top_with_its_value_and_bound(html: str, judgement: Judgement) -> None:
    top = visible(html).split("All runs")[0]
    failed = [result for run_ in judgement.runs for result in run_.results if result.verdict == "failed"]
    assert {"latency.missing", "latency.conflicting", "degradation.unanswered"} <= {result.name for result in failed}
    for result in failed:
        assert f"<code>{result.name}</code>" in top
        assert result.sentence in top


def test_every_result_of_every_run_is_on_the_page_with_the_conditions(html: str, judgement: Judgement) -> None:
    sections = visible(html).split('<section class="run"')[1:]
    assert len(sections) == len(judgement.runs)
    for section, run_ in zip(sections, judgement.runs, strict=True):
        assert sorted(re.findall(r"<code>([^<]+)</code>", section)) == sorted(each.name for each in run_.results)
        assert f"seed <b>{run_.seed}</b>" in section
        n_silent = sum(each.verdict == "not measured" for each in run_.results)
        assert f"{n_silent} not measured</small>" in section.split("</div>")[0]
        assert "<b>2</b> cores" in section and "<b>50</b> purchases/s asked" in section


def test_plots_are_valid_plotly_and_each_has_its_place(page: Page) -> None:
    from plotly.graph_objects import Figure

    found = figures(page)
    assert set(found) <= set(page.ids)
    for figure in found.values():
        Figure(data=figure["data"], layout=figure["layout"])


def test_every_kind_of_plot_is_drawn_where_there_is_something_to_draw(page: Page) -> None:
    kinds = {name.removeprefix("run-1-") for name in figures(page) if name.startswith("run-1-")}
    assert kinds == {
        "traffic", "scores", "precision-recall", "recall", "false-declines", "money", "latency-over-time",
        "latency-histogram", "revenue", "prices", "degradation",
    }  # fmt: skip
    assert not [name for name in figures(page) if name.startswith("run-3-")]


def test_plots_show_the_figures_of_the_judgement(page: Page, judgement: Judgement) -> None:
    shown, found = figures(page), judgement.runs[0].figures
    recall = {
        name: value
        for trace in shown["run-0-recall"]["data"]
        for name, value in zip(trace["y"], trace["x"], strict=True)
    }
    assert recall == {name: each.flagged.value for name, each in found.accuracy.patterns.items()}
    bars = shown["run-0-latency-histogram"]["data"][0]
    assert sum(bars["y"]) == found.latency.n
    assert shown["run-0-traffic"]["layout"]["annotations"][0]["x"] == 20.0


def test_a_single_run_has_no_table_of_runs(tmp_path: Path) -> None:
    write_report(tmp_path / "one.html", judge([run()], load_thresholds()))
    text = visible((tmp_path / "one.html").read_text(encoding="utf-8"))
    assert "All runs" not in text and "What failed" not in text
    assert "flatters" in text


def test_a_past_is_plotted_in_days_and_says_who_decided(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    days = [START_US + number * day_us for number in range(120)]
    past = run(
        mode="history", decided_by="stand-in", seconds=120 * 86_400.0, rate_asked=0.001, rate_reached=0.001,
        purchases=tuple(purchase(n, occurred_us=at, latency_ms=None, score=None) for n, at in enumerate(days)),
        changes=(Change(what="people pay less", at_us=days[30]),),
    )  # fmt: skip
    write_report(tmp_path / "past.html", judge([past], load_thresholds()))
    text = (tmp_path / "past.html").read_text(encoding="utf-8")
    traffic = figures(Page(text))["run-0-traffic"]
    assert "A stand-in decided." in visible(text) and "flatters" not in visible(text)
    assert traffic["layout"]["xaxis"]["title"]["text"] == "days of the run"
    assert traffic["layout"]["shapes"][0]["x0"] == 30
    assert set(traffic["data"][0]["y"]) == {1.0}, "one purchase a day"


def test_the_same_judgement_gives_the_same_bytes(judgement: Judgement, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / f"{name}.html", judgement)
        write_json(tmp_path / f"{name}.json", judgement)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_json_holds_the_whole_judgement(judgement: Judgement, tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", judgement)
    payload = (tmp_path / "run.json").read_bytes()
    assert msgspec.json.decode(payload, type=Judgement) == judgement
    told = json.loads(payload)
    assert told["verdict"] == "failed"
    assert told["runs"][0]["figures"]["accuracy"]["recall"]["value"] == judgement.runs[0].figures.accuracy.recall.value


# ----------------------------------------------------------------------------------------------------- records on disk
def test_records_survive_being_written_down(tmp_path: Path) -> None:
    records = tuple(everything())
    write_records(tmp_path / "deep" / "runs.jsonl", records)
    assert read_records(tmp_path / "deep" / "runs.jsonl") == records


def test_what_is_no_record_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"scenario": "normal"}\n')
    with pytest.raises(ConfigurationError, match="holds no records of runs"):
        read_records(path)
    with pytest.raises(ConfigurationError, match="holds no records of runs"):
        read_records(tmp_path / "none.jsonl")


def test_this_machine_has_cores_and_names() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.python.startswith("3.") and machine.system and machine.processor
