"""Which scenarios run, with which seed, and the table at the end: `make chaos` runs all, `make test` the short ones."""

import os
import secrets
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

import pytest

from tests.chaos.report import Row, last_line, table

ROW = pytest.StashKey[Row]()
_PROPERTY = "chaos"


class ChaosPlugin:
    """Gives every scenario its row, hears of them also from processes that run a part of the tests, and prints them."""

    def __init__(self, config: pytest.Config) -> None:
        self.everything = "chaos" in str(config.getoption("markexpr"))
        """Whether this is `make chaos`."""
        self.seed = os.environ.get("CHAOS_SEED") or (str(secrets.randbelow(10_000)) if self.everything else "0")
        self._config = config
        self._rows: list[Row] = []
        self._left_out = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave the long ones out unless they were asked for."""
        long = [] if self.everything else [item for item in items if _is_long(item)]
        self._left_out = len(long)
        if long:
            config.hook.pytest_deselected(items=long)
            items[:] = [item for item in items if item not in long]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A row for each scenario."""
        marked = item.get_closest_marker("chaos")
        if marked is not None:
            item.stash[ROW] = Row(marked.kwargs.get("scenario") or item.name.removeprefix("test_").replace("_", " "))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send the row with the report, once: of the test itself, or of a set-up that failed."""
        report = yield
        if ROW in item.stash and (call.when == "call" or (call.when == "setup" and report.failed)):
            row = item.stash[ROW]
            row.passed, row.seconds = report.passed, float(call.duration)
            report.user_properties.append((_PROPERTY, asdict(row)))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Receive it, and show it as the run goes on."""
        for name, told in report.user_properties:
            if name == _PROPERTY:
                self._rows.append(Row(**told))  # type: ignore[arg-type]
                if self.everything:
                    self._show(table(self._rows)[-1])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A process that runs a part of the tests tells the one that reports what was left out."""
        told = getattr(session.config, "workeroutput", None)
        if told is not None:
            told["long_chaos"] = self._left_out

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hear it. Every such process collects all tests."""
        self._left_out = getattr(node, "workeroutput", {}).get("long_chaos", 0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and what is not in it."""
        if self._rows:
            terminalreporter.section(f"chaos, seed {self.seed} (CHAOS_SEED={self.seed} repeats it)")
            for line in table(self._rows):
                terminalreporter.write_line(line)
        if self._left_out:
            terminalreporter.write_line(
                f"{self._left_out} long chaos scenarios were deselected: `make chaos` runs them all."
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """After pytest's own closing line."""
        if self.everything and self._rows:
            self._show(last_line(self._rows))

    def _show(self, line: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(line)


def _is_long(item: pytest.Item) -> bool:
    marked = item.get_closest_marker("chaos")
    return marked is not None and not marked.kwargs.get("short")
