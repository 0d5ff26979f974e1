"""Thresholds: what a file may say, and the one sentence when it says something else."""

from pathlib import Path

import pytest

from ibook.errors import ConfigurationError
from simulator.judgement import load_thresholds
from simulator.thresholds import Threshold
from simulator.validators import names


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_thresholds(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_every_threshold_that_comes_with_the_simulator_bounds_a_measure_and_has_a_reason() -> None:
    own = load_thresholds()
    assert set(own.general) <= set(names())
    assert all(len(each.why) > 20 for each in own.general.values())


def test_a_file_counts_instead_for_what_it_names_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[latency.p99_ms]\nat_most = 50\nwhy = "Ours is faster."\n'
                    '[scenario.flash-sale.latency.p99_ms]\nat_most = 90\nwhy = "But not there."\n'
                    '[accuracy.recall_card-testing]\nat_least = 0.9\nwhy = "It is loud."\n')  # fmt: skip
    mine, own = load_thresholds(path), load_thresholds()
    assert mine.of("normal")["latency.p99_ms"].at_most == 50
    assert mine.of("flash-sale")["latency.p99_ms"].at_most == 90
    assert mine.of("normal")["accuracy.recall_card-testing"].at_least == 0.9
    assert mine.of("system-degradation")["latency.p95_ms"] == own.of("system-degradation")["latency.p95_ms"]
    assert mine.of("normal")["latency.missing"] == own.of("normal")["latency.missing"]


def test_a_mix_is_held_to_the_loosest_bounds_of_its_scenarios_unless_it_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[scenario.flash-sale.latency.p99_ms]\nat_most = 5000\nwhy = "A rush."\n'
                    '[scenario.flash-sale.accuracy.recall]\nat_least = 0.1\nwhy = "A rush."\n'
                    '[scenario.normal.accuracy.recall]\nat_least = 0.6\nwhy = "Quiet."\n'
                    '[scenario.mix.latency.p50_ms]\nat_most = 70\nwhy = "Of a mix alone."\n')  # fmt: skip
    mine = load_thresholds(path)
    every = mine.of("mix", ("normal", "flash-sale", "system-degradation"))
    assert every["latency.p99_ms"].at_most == 5000
    assert every["latency.p95_ms"].at_most == 1000
    assert every["accuracy.recall"].at_least == 0.1
    assert every["degradation.injected"].at_least == 1
    assert every["latency.p50_ms"].at_most == 70
    assert every["latency.missing"] == mine.general["latency.missing"]
    assert mine.of("mix", ("normal", "fraud-attack"))["latency.p99_ms"].at_most == 200
    assert mine.of("mix", ("normal",))["accuracy.recall"].at_least == 0.6


def test_what_a_file_says_wrongly_is_one_sentence(tmp_path: Path) -> None:
    assert "no TOML" in refused(tmp_path, "latency = [")
    assert "nobody measures" in refused(tmp_path, '[latency.p98_ms]\nat_most = 1\nwhy = "x"')
    assert "one of at_most and at_least" in refused(tmp_path, '[latency.p99_ms]\nwhy = "x"')
    both = '[latency.p99_ms]\nat_most = 1\nat_least = 1\nwhy = "x"'
    assert "one of at_most and at_least" in refused(tmp_path, both)
    assert "finite" in refused(tmp_path, '[latency.p99_ms]\nat_most = inf\nwhy = "x"')
    assert "unknown field `at_mots`" in refused(tmp_path, '[latency.p99_ms]\nat_mots = 1\nwhy = "x"')
    assert "`why`" in refused(tmp_path, "[latency.p99_ms]\nat_most = 1")
    assert "may hold bounds of normal, " in refused(tmp_path, "scenario = 3")
    assert "nothing else" in refused(tmp_path, '[scenario.flash-sail.latency.p99_ms]\nat_most = 1\nwhy = "x"')
    assert "nobody measures" in refused(tmp_path, '[scenario.mix.latency.p98_ms]\nat_most = 1\nwhy = "x"')
    assert "Expected `object`" in refused(tmp_path, "latency = 3")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_thresholds(tmp_path / "none.toml")


def test_a_bound_holds_up_to_itself_and_not_for_what_is_no_number() -> None:
    most, least = Threshold(why="x", at_most=2), Threshold(why="x", at_least=2)
    assert most.holds(2) and not most.holds(2.1)
    assert least.holds(2) and not least.holds(1.9)
    assert not most.holds(float("nan")) and not least.holds(float("nan"))
    assert (str(most), str(least)) == ("≤ 2", "≥ 2")
