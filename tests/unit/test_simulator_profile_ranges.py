"""A profile fails where the traffic is not what it should be, in a sentence that names the figure."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator import profile as profiles
from simulator.__main__ import app
from simulator.profile import BOUNDS, Profile, facts
from simulator.profile.difficulty import Difficulty
from simulator.profile.leaks import Finding
from simulator.profile.rings import Rings
from simulator.profile.show import show

GOOD = Profile(
    rings=Rings(12, 900, {0.001: 0.75}, 0.8, 0.002, {"fan_club": 2}),
    seed=1, days=180, purchases=1000, figures={figure.key: None for figure in facts.FIGURES},
    difficulty=Difficulty(
        n_training=100, n_training_frauds=30, n_test=100, n_test_frauds=30,
        average_precision={"model": 0.5, "rules": 0.1, "request_fields_only": 0.2},
        interval=dict.fromkeys(("model", "rules", "request_fields_only"), (0.0, 1.0)),
        precision_at_share=0.8, recall_by_pattern={"stolen-card": 0.25}, recall_of_abuse={"scalper-ring": 0.0},
    ),
    leaks=[Finding("user_id", "all", 50, 0.52, (0.4, 0.6))],
)  # fmt: skip


def with_precision(**values: float) -> Profile:
    return replace(GOOD, difficulty=replace(
        GOOD.difficulty, average_precision=GOOD.difficulty.average_precision | values
    ))  # fmt: skip


def test_a_profile_within_all_ranges_has_nothing_to_say() -> None:
    assert GOOD.outside() == []


@pytest.mark.parametrize(("profile", "what"), [
    (with_precision(model=0.71), "average precision of a model"),
    (with_precision(model=0.29), "average precision of a model"),
    (with_precision(rules=0.26), "times that of the rules"),
    (with_precision(request_fields_only=0.4), "times that of a model on the request alone"),
    (replace(GOOD, leaks=[Finding("user_id", "all", 50, 0.7, (0.4, 0.6))]), "ids, order or formatting"),
    (replace(GOOD, unsearched=("resale-triangulation",)), "patterns that were not searched"),
    (replace(GOOD, figures=GOOD.figures | {"base_rate": 0.2}), "payment fraud among purchases is 0.2"),
    (replace(GOOD, figures=GOOD.figures | {"last_week": 0.1}), "sold in the last week"),
])  # fmt: skip
def test_a_figure_outside_its_range_is_named(profile: Profile, what: str) -> None:
    sentences = profile.outside()
    assert sentences and all(what in sentence for sentence in sentences[:1])


def run(monkeypatch: pytest.MonkeyPatch, profile: Profile, path: Path) -> tuple[int, str]:
    monkeypatch.setattr(profiles, "profile", lambda seed, *, days, purchases: profile)
    result = CliRunner().invoke(app, ["profile", "--json", str(path)])
    return result.exit_code, result.output


def test_the_command_prints_and_writes_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, output = run(monkeypatch, GOOD, tmp_path / "profile.json")
    assert code == 0
    assert "average precision, request fields only" in output and "Eventbrite" in output
    found = json.loads((tmp_path / "profile.json").read_text())
    assert found["average_precision"] == {"model": 0.5, "rules": 0.1, "request_fields_only": 0.2}
    assert found["recall_by_pattern"] == {"stolen-card": 0.25}
    assert found["base_rate"] is None and found["outside"] == []
    assert "labels come 2 times as fast as in life" in output and found["compress"] == 2.0


def test_the_command_fails_with_one_sentence_when_a_figure_is_out_of_range(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, output = run(monkeypatch, with_precision(model=0.97), tmp_path / "profile.json")
    assert code == 1
    assert "simulator: Out of range: average precision of a model on window features is 0.97" in output
    assert json.loads((tmp_path / "profile.json").read_text())["outside"]


def test_every_range_is_shown_beside_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    show(GOOD)
    printed = capsys.readouterr().out
    assert all(bound.what in printed for bound in BOUNDS)
    assert "35.0% to 65.0%" in printed and "0.3 to 0.7" in printed
