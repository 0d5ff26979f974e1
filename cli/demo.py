"""`ibook demo`: the whole platform, a past, a minute of traffic, an attack, and what came of it."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.settings import DataDir, settings_for
from ibook.errors import ConfigurationError

if TYPE_CHECKING:
    from cli.demo_report import DemoReport
    from cli.demo_screen import Screen
    from ibook.edges.audit import Auditor
    from ibook.edges.freshness import FreshnessProbe
    from ibook.settings import Settings
    from infra.local.running import Platform
    from simulator.realtime import RealtimeShop
    from simulator.world import World

app = typer.Typer()

HISTORY_HOURS, HISTORY_PURCHASES = 24.0, 3000
CATCH_UP_SECONDS, DRAIN_SECONDS = 120.0, 30.0
ATTACK_AFTER, BREAK_AFTER = 0.4, 0.2
"""Shares of the demo after which an attack begins by itself, and broken messages are fed in."""
SHORT = {"slot_seconds": 5.0, "quote_ttl_seconds": 10.0, "quote_grace_seconds": 5.0, "policy_seconds": 1.0}
"""Prices learn in seconds here, not in hours."""
UNSOUND = 1


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=5, help="Length of the load.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, help="Purchases per second.")] = 50.0,
    seed: Annotated[int, typer.Option(help="The world that is played.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the summary to this file.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Start everything, play a shop, launch an attack, show it live, and stop everything.

    The data stays for a look; the next demo begins on empty data. Exit code 1 when a purchase has no verdict or two
    that differ, or when a value that was served is not what the log gives.
    """
    from infra.local.processes import interrupt_on_signals
    from infra.local.running import running_platform
    from infra.local.state import mark_data_dir

    _check_writable(json_file)
    base = settings_for(data_dir)
    # Kafka and Redis of its own, whatever the environment names: broken messages are nothing for a cluster in use.
    settings = base.model_copy(update={"data_dir": base.data_dir / "demo", "parts": "processes", **SHORT})
    mark_data_dir(base.data_dir)
    interrupt_on_signals()
    try:
        with running_platform(settings, fresh=True, say=_say) as platform:
            done = play(platform, seconds=seconds, rate=rate, seed=seed)
            where = f"{platform.settings.data_dir}"
    except KeyboardInterrupt:
        _say("Stopped before its end; nothing is left running.")
        raise typer.Exit(130) from None
    _tell(done, json_file, where)
    if not done.sound:
        raise typer.Exit(UNSOUND)


def _check_writable(json_file: Path | None) -> None:
    """Find out now, not after the demo. Raises ConfigurationError."""
    if json_file is not None:
        try:
            json_file.touch()
        except OSError as error:
            raise ConfigurationError(f"{json_file} can't be written: {error.strerror}.") from error


def play(platform: "Platform", *, seconds: float, rate: float, seed: int) -> "DemoReport":
    """A past, then the load, then wait until nothing lags, then the audit and the comparison with the log."""
    from cli.demo_report import report
    from cli.demo_screen import Screen
    from cli.watching import Watcher
    from ibook.edges.audit import Auditor
    from ibook.edges.freshness import FreshnessProbe
    from ibook.edges.lag import wait_until_nothing_lags
    from ibook.edges.online_store import OnlineStore
    from ibook.edges.parity import check_parity
    from simulator.realtime import RealtimeShop

    settings = platform.settings
    store = OnlineStore(settings)
    began = time.monotonic()
    world = _load_past(settings, seed)
    if not wait_until_nothing_lags(settings, store, CATCH_UP_SECONDS):
        _say("The past is not folded yet; the shop opens all the same, and the first figures suffer.")
    _say(f"The past was decided and folded in {time.monotonic() - began:.1f} s; the shop opens.")
    watcher, probe = Watcher(settings), FreshnessProbe(settings)
    shop = RealtimeShop(world, settings, rate, seed, on_purchase=probe.watch)
    watcher.start()
    probe.start()
    with Auditor(settings) as auditor:
        shop.start()
        try:
            screen = Screen(watcher)
            with screen.open():
                _watch(shop, probe, auditor, screen, settings, seconds=seconds, seed=seed)
            _say("The load has ended; waiting until nothing lags.")
            shop.end_load()
            shop.drain(DRAIN_SECONDS)
        finally:
            shop.stop()
        caught_up = wait_until_nothing_lags(settings, store, CATCH_UP_SECONDS)
        probe.stop()
        watcher.stop()
        if shop.failure is not None:
            raise shop.failure
        audit = auditor.look(to_the_end=True)
    _say("Comparing what was served with what the log gives.")
    return report(
        shop.stats(), audit, shop.latencies(), probe.seconds(), check_parity(settings, live=True),
        never_seen=probe.never_seen, launched=screen.launched, ready_seconds=platform.ready_seconds,
        caught_up=caught_up,
    )  # fmt: skip


def _load_past(settings: "Settings", seed: int) -> "World":
    """Publish the past of the world that the shop goes on with, so that its windows are full."""
    from simulator.history import generate
    from simulator.sinks import KafkaSink, write_all

    _say(f"Loading a past of {HISTORY_PURCHASES} purchases in {HISTORY_HOURS:.0f} h, so that windows are full.")
    past = generate(seed, datetime.now(UTC), HISTORY_HOURS, HISTORY_PURCHASES)
    sink = KafkaSink(settings)
    write_all(past, sink)
    return past.world


def _watch(
    shop: "RealtimeShop", probe: "FreshnessProbe", auditor: "Auditor", screen: "Screen", settings: "Settings", *,
    seconds: float, seed: int,
) -> None:  # fmt: skip
    from cli.demo_screen import KEYS

    broken = attacked = False
    drawn = 0.0
    while (passed := shop.seconds) < seconds and shop.failure is None:
        if not broken and passed >= seconds * BREAK_AFTER:
            broken = True
            _feed_broken(settings, seed)
        if not attacked and passed >= seconds * ATTACK_AFTER:
            attacked = True
            screen.launched.append(shop.launch_attack("card-testing"))
        if time.monotonic() - drawn >= 1.0:
            drawn = time.monotonic()
            screen.show(shop.stats(), probe.seconds(), auditor.look().dead_letters)
        key = screen.keys(0.2)
        if key == "q":
            return
        if key in KEYS:
            attacked = True
            screen.launched.append(shop.launch_attack(KEYS[key]))


def _feed_broken(settings: "Settings", seed: int) -> None:
    """A few messages nobody can read, as a shop's bad deploy would send them."""
    from simulator.broken import samples
    from simulator.sinks import KafkaSink

    sink = KafkaSink(settings)
    for topic, key, value, _ in samples(seed):
        sink.write_raw(topic, key, value)
    sink.close()


def _tell(done: "DemoReport", json_file: Path | None, where: str) -> None:
    from cli.demo_report import sentences

    _say("")
    for sentence in sentences(done):
        _say(sentence)
    if json_file is not None:
        json_file.write_text(json.dumps(done.as_json(), indent=2) + "\n")
    _say("")
    _say(f"Everything has stopped; data and logs are in {where}.")
    _say("Next: `ibook up` keeps the platform running, `ibook topics list` shows what travels,")
    _say("docs/publishing.md publishes a purchase of your own, and `make bench` measures this machine.")
    if not done.sound:
        _say("NOT SOUND: some purchases have no verdict, or two that differ, or features disagree with the log.")


def _say(sentence: str) -> None:
    print(sentence, flush=True)
