"""Which scenarios run, with which seed, and the table at the end: `make chaos` runs all, `make test` the short ones."""

import os
import secrets
from collections.abc import Generator

import pytest

from tests.chaos.models import Models, train_two
from tests.chaos.report import Report, Row

_REPORT = pytest.StashKey[Report]()
_ROW = pytest.StashKey[Row]()


def everything(config: pytest.Config) -> bool:
    """Whether this is `make chaos`."""
    return "chaos" in str(config.getoption("markexpr"))


def pytest_configure(config: pytest.Config) -> None:
    seed = os.environ.get("CHAOS_SEED") or (str(secrets.randbelow(10_000)) if everything(config) else "0")
    config.stash[_REPORT] = Report(seed)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """This test's line of the table."""
    found: Row = request.node.stash[_ROW]
    return found


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> str:
    """What all randomness of the run comes from."""
    return pytestconfig.stash[_REPORT].seed


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Two models to release."""
    return train_two(tmp_path_factory.mktemp("chaos-models"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marked = item.get_closest_marker("chaos")
    if marked is not None:
        item.stash[_ROW] = Row(marked.kwargs.get("scenario") or _sentence(item))
        item.config.stash[_REPORT].rows.append(item.stash[_ROW])


def _sentence(item: pytest.Item) -> str:
    return item.name.removeprefix("test_").replace("_", " ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _ROW in item.stash and call.when == "call":
        item.stash[_ROW].passed = report.passed
        item.stash[_ROW].seconds = float(call.duration)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if report.rows:
        terminalreporter.section(f"chaos, seed {report.seed} (CHAOS_SEED={report.seed} repeats it)")
        for line in report.lines():
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest's own closing line."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and everything(config) and config.stash[_REPORT].rows:
        terminal.write_line(config.stash[_REPORT].last_line())
