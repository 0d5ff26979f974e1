"""What people see of the simulator: its lines, its refusals, its files."""

import io
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ibook import codec, topics
from ibook.errors import ConfigurationError
from simulator import sinks
from simulator.__main__ import app, main, parse_end
from simulator.console import Screen, progress, summary, told_to_stop
from simulator.judgement import judge, load_thresholds
from simulator.plan import check_writable
from simulator.record import read_records
from simulator.runs import said
from simulator.scenarios import SCENARIOS
from simulator.sinks import Line, read_parquet
from simulator.stats import ShopStats
from simulator.truth import read_truth

QUIET = ShopStats(
    seconds=10.0, rate_asked=50.0, rate_reached=49.9, lag_seconds=0.003, worst_lag_seconds=0.02, owed=0, purchases=499,
    verdicts=498, missing=1, conflicting=0, duplicated=0, unknown_verdicts=0, unreadable_verdicts=0, undelivered=0,
    actions={"approve": 490, "review": 8}, latency_ms={"p50": 12.0, "p95": 20.0, "p99": 31.0}, recent_latency_ms={},
    recall=0.5, precision=None, approved_without_verdict=0, held_without_verdict=1, quotes=1000, unquoted=0, sales=400,
    revenue_minor=1, messages={}, outcomes={}, events=(), attacks=(),
)  # fmt: skip


def test_the_progress_line_names_rate_lag_and_counts() -> None:
    line = progress(QUIET)
    for part in ("49.9/s of 50/s", "lag 3 ms", "purchases 499", "missing 1", "approve 490", "review 8", "quotes 1000"):
        assert part in line
    assert "CAN'T" not in line


@pytest.mark.parametrize("late", [replace(QUIET, lag_seconds=0.7), replace(QUIET, owed=80)])
def test_a_machine_that_cannot_hold_the_rate_says_so(late: ShopStats) -> None:
    assert "CAN'T HOLD THE RATE" in progress(late)


def test_the_summary_names_what_is_missing() -> None:
    text = "\n".join(summary(replace(QUIET, undelivered=3)))
    for part in ("missing 1", "conflicting 0", "held 1", "p99 31 ms", "recall 0.50", "did not take 3 messages"):
        assert part in text


def test_the_summary_names_the_pace_and_a_rate_that_was_not_held() -> None:
    late = replace(QUIET, seconds_behind=4.0, owed=7, pacing_error_ms={"p50": 0.2, "p99": 4.25})
    text = "\n".join(summary(late))
    for part in ("THE RATE WAS NOT HELD: behind for 4 s, 7 purchases owed", "p50 0.2 ms", "p99 4.2 ms"):
        assert part in text
    assert "NOT HELD" not in "\n".join(summary(QUIET))


@pytest.mark.parametrize("rate_due", [400.0, 20.0])
def test_what_may_be_owed_is_a_second_of_what_is_due_now(rate_due: float) -> None:
    owing = replace(QUIET, owed=80, rate_due=rate_due)
    assert owing.holds_the_rate == (rate_due == 400.0)


# ------------------------------------------------------------------------------------------------------- the screen
def screen(*, terminal: bool) -> tuple[Screen, io.StringIO]:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=200, highlight=False, soft_wrap=True)
    return Screen(console), shown


def test_in_a_pipe_there_are_plain_lines_and_the_fall_behind_is_said_once() -> None:
    lines, shown = screen(terminal=False)
    with lines.run("normal"):
        for lag in (0.0, 0.7, 0.8, 0.0):
            lines.show(replace(QUIET, lag_seconds=lag), 60.0)
    text = shown.getvalue()
    assert "\x1b" not in text
    assert text.count("This machine can't hold the rate: 0.7 s late") == 1 == text.count("It holds the rate again.")
    assert text.count("purchases 499") == 1  # not more often than a line a second


def test_on_a_terminal_there_is_a_bar_and_the_fall_behind_stays_above_it() -> None:
    bar, shown = screen(terminal=True)
    with bar.run("flash-sale"):
        bar.show(replace(QUIET, lag_seconds=0.7), 60.0)
    text = shown.getvalue()
    assert "flash-sale" in text and "purchases 499" in text and "\x1b[" in text
    assert "This machine can't hold the rate" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_interrupts(number: signal.Signals) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(each) for each in numbers]
    with told_to_stop() as stopped:
        assert not stopped.is_set()
        signal.raise_signal(number)
        assert stopped.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert [signal.getsignal(each) for each in numbers] == before
    assert [signal.getsignal(each) for each in numbers] == before


def test_after_one_signal_and_an_orderly_end_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with told_to_stop():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_bar_goes_away_with_a_run_that_fails() -> None:
    bar, shown = screen(terminal=True)
    with pytest.raises(ConfigurationError), bar.run("normal"):
        raise ConfigurationError("No topic.")
    bar.show_line("told plainly", 1.0)
    assert shown.getvalue().endswith("told plainly\n")


# ------------------------------------------------------------------------------------------------------ the commands
def test_every_scenario_is_listed_with_what_it_says_of_itself() -> None:
    result = CliRunner().invoke(app, ["list-scenarios"])
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    for name, scenario in SCENARIOS.items():
        assert f"{name} {scenario.description}" in words


def test_ibook_simulate_has_the_same_commands() -> None:
    from cli.main import app as ibook

    for arguments in (["list-scenarios"], ["run", "--help"], ["mix", "--help"]):
        theirs, ours = (
            CliRunner().invoke(one, more) for one, more in ((ibook, ["simulate", *arguments]), (app, arguments))
        )
        assert theirs.exit_code == ours.exit_code == 0
        assert theirs.output.splitlines()[2:] == ours.output.splitlines()[2:]  # the first line names the program


def test_realtime_says_how_long_it_lasts() -> None:
    result = CliRunner().invoke(app, ["realtime", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    words = " ".join(result.output.split())
    assert "for --duration, a minute if left out; Ctrl-C ends it sooner." in words
    assert "[default: 60.0]" in words


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """What a command prints, and what it says of why it ends with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["simulator", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    output = capsys.readouterr()
    return output.out, output.err


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that ends with exit code 2 before anything ran."""
    printed, error = ended(monkeypatch, capsys, *arguments)
    assert "doors open" not in printed
    return error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "sunny"], "There is no scenario 'sunny', only normal, flash-sale, fraud-attack"),
        (["mix", "--weights", "normal=x"], "--weights has 'normal=x' where normal=0.3 is meant."),
        (["mix", "--weights", "normal=0"], "The weight of normal must be a number above 0, not 0."),
        (["run", "normal", "--rate", "0"], "--rate must be above 0 and at most 20000, not 0."),
        (["run", "normal", "--rate", "nan"], "--rate must be above 0 and at most 20000, not nan."),
        (["run", "normal", "--compress", "0"], "--compress must be a number above 0, not 0."),
        (["run", "normal", "--output", "x"], "--output is for --to parquet and --to jsonl"),
        (["run", "normal", "--attack", "sneezing"], "There is no attack 'sneezing', only card-testing"),
        (["run", "normal", "--duration", "nan"], "at least 1 and at most 604800 (a week), not nan."),
        (["run", "normal", "--to", "jsonl", "--duration", "1e12"], "at most 604800 (a week), not 1e+12."),
        (["run-all", "--report", "/dev/null/report.html"], "/dev/null/report.html can't be written: "),
        (["run", "normal", "--json", "/"], "/ can't be written: Is a directory."),
        (["run-all", "--to", "parquet", "--output", "/dev/null/x"], "The folder /dev/null/x/normal can't be made: "),
        (["run", "normal", "--thresholds", "/nowhere.toml"], "/nowhere.toml"),
        (["history", "--compress", "nan"], "--compress must be a number above 0, not nan."),
        (["history", "--compress", "0"], "--compress must be a number above 0, not 0."),
        (["history", "--days", "30", "--compress", "-3"], "--compress must be a number above 0, not -3."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_one_sentence_before_the_run(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, *arguments)
    assert said.startswith("simulator: ") and sentence in said and said.count("\n") == 1


def test_without_a_platform_a_run_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IBOOK_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setattr(sinks, "ANSWER_SECONDS", 0.5)  # nobody will answer
    said = refused(monkeypatch, capsys, "run", "normal", "--report", str(tmp_path / "report.html"))
    assert "No Kafka broker answers on 127.0.0.1:1" in said and "`ibook up --detach`" in said
    assert not (tmp_path / "report.html").exists()


def play(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--duration", "6", "--rate", "8", "--seed", "3"])
    assert result.exit_code in (0, 1), (result.output, result.exception)
    return result.output


def test_a_virtual_run_writes_its_messages_truth_figures_and_page(tmp_path: Path) -> None:
    names = {name: tmp_path / name for name in ("lines.jsonl", "truth.jsonl", "run.json", "run.html")}
    output = play(
        "run", "system-degradation", "--to", "jsonl", "--output", str(names["lines.jsonl"]),
        "--truth", str(names["truth.jsonl"]), "--json", str(names["run.json"]), "--report", str(names["run.html"]),
    )  # fmt: skip
    assert "system-degradation: " in output and "not measured" in output
    lines = msgspec.json.Decoder(Line).decode_lines(names["lines.jsonl"].read_bytes())
    assert f"{len(lines)} messages" in output and any(line.raw is not None for line in lines)
    for line in lines:
        if isinstance(line.message, msgspec.Raw):
            codec.decode(bytes(line.message), topics.BY_NAME[line.topic].message)
    transactions, _ = read_truth(names["truth.jsonl"])
    figures = json.loads(names["run.json"].read_bytes())
    (run,) = figures["runs"]
    assert run["scenario"] == "system-degradation" and run["conditions"]["purchases"] == len(transactions) > 30
    assert "system-degradation" in names["run.html"].read_text()


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_the_same_command_writes_the_same_bytes(tmp_path: Path, to: str) -> None:
    for number in ("1", "2"):
        play("mix", "--weights", "normal=0.5,flash-sale=0.5", "--to", to, "--output", str(tmp_path / number / "out"))
    files = [sorted(path for path in (tmp_path / number).rglob("*") if path.is_file()) for number in ("1", "2")]
    assert files[0] and [path.name for path in files[0]] == [path.name for path in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_all_runs_are_in_one_report_and_each_has_files_of_its_own(tmp_path: Path) -> None:
    play("run-all", "--to", "parquet", "--output", str(tmp_path / "out"), "--truth", str(tmp_path / "truth.jsonl"),
         "--json", str(tmp_path / "run.json"), "--records", str(tmp_path / "runs.jsonl"))  # fmt: skip
    figures = json.loads((tmp_path / "run.json").read_bytes())
    assert [run["scenario"] for run in figures["runs"]] == list(SCENARIOS)
    again = judge(read_records(tmp_path / "runs.jsonl"), load_thresholds())
    assert json.loads(msgspec.json.encode(again)) == figures
    for name in SCENARIOS:
        assert (tmp_path / "out" / name / "ticket-purchases.parquet").exists()
        assert read_truth(tmp_path / f"truth-{name}.jsonl")[0]


def test_a_run_that_fails_is_named_and_the_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out-flash-sale.jsonl").symlink_to("/dev/full")  # can be opened, but takes nothing
    printed, error = ended(
        monkeypatch, capsys, "run-all", "--to", "jsonl", "--output", str(tmp_path / "out.jsonl"),
        "--records", str(tmp_path / "runs.jsonl"), "--json", str(tmp_path / "run.json"),
        "--duration", "3", "--rate", "8",
    )  # fmt: skip
    others = [name for name in SCENARIOS if name != "flash-sale"]
    assert [record.scenario for record in read_records(tmp_path / "runs.jsonl")] == others
    assert [run["scenario"] for run in json.loads((tmp_path / "run.json").read_bytes())["runs"]] == others
    assert all(f"{name}: " in printed for name in others)
    assert error == "simulator: The run flash-sale failed: [Errno 28] No space left on device.\n"


@pytest.mark.parametrize("full", ["truth.jsonl", "runs.jsonl", "run.json", "run.html"])
def test_a_file_that_can_no_longer_be_written_is_named_and_the_others_are_written(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--truth": "truth.jsonl", "--records": "runs.jsonl", "--json": "run.json", "--report": "run.html"}
    files = [word for name, file in options.items() for word in (name, str(tmp_path / file))]
    (tmp_path / full).symlink_to("/dev/full")
    printed, error = ended(
        monkeypatch, capsys, "run", "normal", "--to", "jsonl", "--output", str(tmp_path / "out.jsonl"),
        "--duration", "3", "--rate", "8", *files,
    )  # fmt: skip
    assert error == f"simulator: {tmp_path / full} can't be written: No space left on device.\n"
    assert "normal: " in printed and "not measured" in printed
    assert all((tmp_path / file).stat().st_size for file in options.values() if file != full)


def test_a_threads_failure_is_one_sentence_whatever_it_is() -> None:
    assert said(ConfigurationError("No topic.")) == "No topic."
    assert said(KeyError("seat")) == "KeyError('seat')."


def test_a_threshold_that_is_not_kept_is_named_and_the_exit_code_says_so(tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text('[load.rate_share]\nat_least = 2.0\nwhy = "impossible"\n')
    arguments = ["run", "normal", "--duration", "3", "--rate", "5", "--to", "jsonl", "--output",
                 str(tmp_path / "out.jsonl"), "--thresholds", str(strict)]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "failed: normal: load.rate_share is" in result.output and "at least 2 was asked" in result.output


def test_a_past_that_finds_no_kafka_says_how_to_have_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IBOOK_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setattr(sinks, "ANSWER_SECONDS", 0.5)  # nobody will answer
    said = refused(monkeypatch, capsys, "history", "--hours", "1", "--to", "kafka")
    assert "answers on 127.0.0.1:1. Start a platform with `ibook up --detach`, or name a cluster" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "normal", "--to", "jsonl", "--output", "x", "--truth", "x"],
        ["run", "normal", "--to", "jsonl", "--output", "y", "--report", "x", "--json", "../here/x"],
        ["run", "normal", "--to", "jsonl", "--output", "y", "--json", "x", "--records", "link"],
        ["run-all", "--to", "jsonl", "--output", "x.jsonl", "--report", "x-normal.jsonl"],
        ["run", "normal", "--to", "parquet", "--report", "run"],
        ["run", "normal", "--to", "jsonl", "--thresholds", "bounds.toml", "--json", "bounds.toml"],
        ["history", "--to", "jsonl", "--output", "x", "--truth", "x"],
    ],
    ids=" ".join,
)
def test_a_file_that_two_options_name_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "link").symlink_to("x")
    (here / "bounds.toml").touch()
    said = refused(monkeypatch, capsys, *arguments)
    assert "are the same file, " in said and said.endswith(": each needs its own.\n") and said.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["bounds.toml", "link"]


def test_looking_whether_a_file_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    for name in ("link", "new"):
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01T12:00:00"])
def test_an_end_that_is_no_instant_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        parse_end(text)


def test_history_writes_messages_and_truth(tmp_path: Path) -> None:
    truth = tmp_path / "truth" / "truth.jsonl"
    arguments = ["history", "--hours", "2", "--purchases", "200", "--seed", "3", "--output", str(tmp_path / "past"),
                 "--truth", str(truth), "--end", "2026-03-01T12:00:00Z"]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    records = list(read_parquet(tmp_path / "past"))
    transactions, demand = read_truth(truth)
    assert sum(topic == "ticket-purchases" for topic, _, _ in records) == len(transactions)
    assert len(demand) == 3 * 120
    assert f"{len(records)} messages with {len(transactions)} purchases" in result.output
