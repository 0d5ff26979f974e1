"""Runs from their plan to their records: one scenario after the other, until the end or until somebody stops them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event as Flag

from ibook.clock import to_us
from ibook.errors import IbookError
from ibook.settings import Settings
from simulator.chronicle import Chronicle
from simulator.console import Screen, summary, virtual_progress, virtual_summary
from simulator.evidence import EvidenceReader
from simulator.options import To
from simulator.plan import BEGINS, Plan
from simulator.realtime import RealtimeShop
from simulator.record import RunRecord
from simulator.recording import record_of_live, record_of_virtual
from simulator.scenarios import Scenario
from simulator.shop import ShopRules
from simulator.sinks import JsonLinesSink, ParquetSink, Sink
from simulator.truth import Truth
from simulator.virtual import VirtualShop
from simulator.world import World

DRAIN_SECONDS, HURRIED_SECONDS = 15.0, 3.0
"""How long late verdicts are waited for after the load, and after being told to stop."""
Done = tuple[RunRecord | None, Truth]
"""What comes of a run."""


def carry_out(plan: Plan, settings: Settings, screen: Screen, stopped: Flag) -> tuple[list[RunRecord], list[str]]:
    """Run every scenario; what was begun is finished in order when `stopped` is set, and the rest left out.

    The records of the runs that came to their end, none unless the plan is judged, and a sentence for each run that
    failed and each truth that can't be written: the other scenarios are run all the same.
    """
    records, failures = [], []
    play = _live if plan.to is To.kafka else _virtual
    for scenario in plan.scenarios:
        if stopped.is_set():
            break
        try:
            record, truth = play(plan, scenario, settings, screen, stopped)
        except (IbookError, OSError) as error:
            failures.append(f"The run {scenario.name} failed: {said(error)}")
            continue
        if record is not None:
            records.append(record)
        failures += _write_truth(plan, scenario, truth)
    return records, failures


def said(error: BaseException) -> str:
    """An error in one sentence, whatever it is."""
    if isinstance(error, IbookError):
        return str(error)
    return f"{error if isinstance(error, OSError) else repr(error)}."


def _rules(plan: Plan) -> ShopRules:
    return replace(ShopRules(), label_day_seconds=plan.label_day_seconds)


# ------------------------------------------------------------------------------------------------------- live
def _live(plan: Plan, scenario: Scenario, settings: Settings, screen: Screen, stopped: Flag) -> Done:
    chronicle = Chronicle() if plan.judged else None
    evidence = EvidenceReader(settings) if plan.judged else None
    shop = RealtimeShop(
        World(plan.seed, datetime.now(UTC)), settings, plan.rate, plan.seed, rules=_rules(plan), scenario=scenario,
        seconds=plan.seconds, chronicle=chronicle,
    )  # fmt: skip
    with _open(shop, evidence), screen.run(scenario.name):
        for pattern in plan.attacks:
            shop.launch_attack(pattern)
        _watch(shop, plan.seconds, screen, stopped)
        shop.end_load()
        shop.drain(HURRIED_SECONDS if stopped.is_set() else DRAIN_SECONDS)
    if shop.failure is not None:
        raise IbookError(said(shop.failure)) from shop.failure  # its own thread has printed the traceback
    screen.tell(summary(shop.stats()))
    if chronicle is None or evidence is None:
        return None, shop.truth
    return record_of_live(shop, chronicle, evidence, seed=plan.seed, compress=plan.compress), shop.truth


@contextmanager
def _open(shop: RealtimeShop, evidence: EvidenceReader | None) -> Iterator[None]:
    """The shop open, and its ends in order whatever happens."""
    try:
        if evidence is not None:
            evidence.start()
        shop.start()
        yield
    finally:
        shop.stop()
        if evidence is not None:
            evidence.stop()


def _watch(shop: RealtimeShop, seconds: float, screen: Screen, stopped: Flag) -> None:
    """Show how it goes, until the load is over."""
    while not stopped.wait(min(screen.every_seconds, max(0.01, seconds - shop.seconds))):
        standing = shop.standing()
        screen.show(standing, seconds)
        if standing.seconds >= seconds or shop.failure is not None:
            return


# ---------------------------------------------------------------------------------------------------- virtual
def _virtual(plan: Plan, scenario: Scenario, _: Settings, screen: Screen, stopped: Flag) -> Done:
    path = plan.output_of(scenario)
    sink: Sink = ParquetSink(path) if plan.to is To.parquet else JsonLinesSink(path)
    chronicle = Chronicle()
    shop = VirtualShop(
        World(plan.seed, BEGINS), scenario, sink, rate=plan.rate, seconds=plan.seconds, seed=plan.seed,
        now_us=to_us(BEGINS), rules=_rules(plan), chronicle=chronicle, attacks=plan.attacks,
    )  # fmt: skip

    def go_on() -> bool:
        screen.show_line(virtual_progress(shop), shop.seconds / plan.seconds)
        return not stopped.is_set()

    with screen.run(scenario.name):
        try:
            shop.run(go_on)
        finally:
            sink.close()
    screen.tell(virtual_summary(shop, str(path)))
    record = record_of_virtual(shop, chronicle, seed=plan.seed, compress=plan.compress)
    return record, shop.play.simulation.truth


def _write_truth(plan: Plan, scenario: Scenario, truth: Truth) -> list[str]:
    path = plan.truth_of(scenario)
    try:
        if path is not None:
            truth.write(path)
    except OSError as error:
        return [f"{path} can't be written: {error.strerror}."]
    return []
