"""How soon a purchase's states are readable while the whole platform works, and what one hot event costs."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from bench.load import BUYERS, EVENTS, purchases
from bench.processes import cores_used, cpu_seconds
from ibook import codec
from ibook.edges.freshness import FreshnessProbe, percentiles_ms
from ibook.edges.kafka import producer
from ibook.edges.lag import wait_until_nothing_lags
from ibook.edges.online_store import OnlineStore
from ibook.messages import EventViewed, LoginAttempted, PurchaseRequested, SeatsHeld, SeatsReleased, TicketActivity
from ibook.settings import Settings
from ibook.topics import TICKET_ACTIVITY, TICKET_PURCHASES
from infra.local.running import Platform, running_platform

PURCHASES_PER_S, ACTIVITY_PER_S = 500.0, 1500.0
HOT_PER_S, HOT_SECONDS = 1000.0, 10.0
HOT_EVENT = "event-hot"
WARM_UP_SECONDS = 5.0
SETTLE_SECONDS = 60.0
KINDS = ("view", "hold", "release", "login", "login_failed")
WEIGHTS = (60, 15, 10, 12, 3)


@dataclass
class Freshness:
    """What the load came to."""

    freshness_ms: dict[str, float] = field(default_factory=dict)
    half_load_ms: dict[str, float] = field(default_factory=dict)
    """The same at half the load: where the cores are too few for all of it, this is what the path itself takes."""
    load: dict[str, float] = field(default_factory=dict)
    """Messages per second that were sent, samples, and purchases never seen."""
    hot_event: dict[str, float] = field(default_factory=dict)


def activity(run: str, seed: int) -> Iterator[TicketActivity]:
    """Endless activity of the same buyers at the same events, made anew when it is sent."""
    rng, number = Random(seed), 0
    popularity = [1 / (rank + 1) for rank in range(EVENTS)]
    while True:
        buyer = rng.randrange(BUYERS)
        (event,) = rng.choices(range(EVENTS), popularity)
        (kind,) = rng.choices(KINDS, WEIGHTS)
        yield _activity(kind, f"{run}-{number}", buyer, f"event-{event}", rng.randrange(1, 5))
        number += 1


def _activity(kind: str, name: str, buyer: int, event_id: str, n_seats: int) -> TicketActivity:
    who = {
        "message_id": name, "occurred_at": datetime.now(UTC), "user_id": f"user-{buyer}",
        "device_id": f"device-{buyer}", "ip": f"10.{buyer % 8}.{buyer // 80}.{buyer % 80}",
    }  # fmt: skip
    if kind == "view":
        return EventViewed(event_id=event_id, **who)  # type: ignore[arg-type]
    if kind.startswith("login"):
        return LoginAttempted(succeeded=kind == "login", **who)  # type: ignore[arg-type]
    seats = SeatsHeld if kind == "hold" else SeatsReleased
    return seats(event_id=event_id, hold_id=f"hold-{name}", n_seats=n_seats, **who)  # type: ignore[arg-type]


def measure_freshness(settings: Settings, *, seconds: float, seed: int, say: Callable[[str], None]) -> Freshness:
    """The load on a platform of its own, then the hot event on the same."""
    found = Freshness()
    with running_platform(settings, fresh=True, say=say) as platform:
        _loaded(platform, WARM_UP_SECONDS, seed, "warm-up", None)
        _settle(platform)
        found.half_load_ms, _ = _steady(platform, seconds, seed + 1, 0.5, say)
        found.freshness_ms, found.load = _steady(platform, seconds, seed + 2, 1.0, say)
        _hot(platform, seed + 3, found, say)
    return found


def _steady(
    platform: Platform, seconds: float, seed: int, share: float, say: Callable[[str], None]
) -> tuple[dict[str, float], dict[str, float]]:
    """Percentiles of the freshness at a share of the load, and what the load was."""
    probe = FreshnessProbe(platform.settings)
    probe.start()
    before, began = cpu_seconds(platform), time.perf_counter()
    sent = _loaded(platform, seconds, seed, f"steady-{share}", probe, share)
    took = time.perf_counter() - began
    cores = cores_used(before, cpu_seconds(platform), took)
    time.sleep(1.0)
    probe.stop()
    milliseconds = percentiles_ms(probe.seconds())
    say(
        f"Freshness at {share * PURCHASES_PER_S:.0f} purchases/s and {share * ACTIVITY_PER_S:.0f} activity messages/s "
        f"asked, {sent / took:.0f}/s sent for {took:.0f} s: {_named(milliseconds)} ms, {len(probe.seconds())} samples."
    )
    say(f"  cores: {cores}")
    _settle(platform)
    load = {"per_s": round(sent / took, 1), "samples": len(probe.seconds()), "never_seen": probe.never_seen}
    return milliseconds, load


def _loaded(
    platform: Platform, seconds: float, seed: int, run: str, probe: FreshnessProbe | None, share: float = 1.0
) -> int:
    """Send the load, each message at its own time; returns how many there were."""
    client = producer(platform.settings, {"linger.ms": 5})
    buying, doing = purchases(run, seed), activity(f"{run}-a", seed)
    rate, start = share * (PURCHASES_PER_S + ACTIVITY_PER_S), time.perf_counter()
    every = round(1 + ACTIVITY_PER_S / PURCHASES_PER_S)
    count = int(rate * seconds)
    for number in range(count):
        wait = start + number / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        if number % every:
            one = next(doing)
            client.produce(TICKET_ACTIVITY.name, codec.encode(one), one.user_id.encode())
        else:
            bought: PurchaseRequested = next(buying)
            client.produce(TICKET_PURCHASES.name, codec.encode(bought), bought.card_id.encode())
            if probe is not None:
                probe.watch(bought)
        client.poll(0)
    client.flush(30)
    return count


def _hot(platform: Platform, seed: int, found: Freshness, say: Callable[[str], None]) -> None:
    """Everybody looks at one event: its state is folded into for every message."""
    client, rng, store = producer(platform.settings, {"linger.ms": 5}), Random(seed), OnlineStore(platform.settings)
    start, count = time.perf_counter(), int(HOT_PER_S * HOT_SECONDS)
    for number in range(count):
        wait = start + number / HOT_PER_S - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        kind = "hold" if number % 10 == 0 else "view"
        one = _activity(kind, f"hot-{number}", rng.randrange(BUYERS), HOT_EVENT, 2)
        client.produce(TICKET_ACTIVITY.name, codec.encode(one), one.user_id.encode())
        client.poll(0)
    client.flush(30)
    sent_in = time.perf_counter() - start
    settled = _settle(platform)
    size = len(store.read_states({"event": [HOT_EVENT]})["event"][0] or b"")
    found.hot_event = {
        "updates_per_s": round(count / sent_in, 1), "seconds_behind": round(settled, 2), "state_bytes": float(size),
    }  # fmt: skip
    say(
        f"A hot event: {count / sent_in:.0f} updates/s for {sent_in:.0f} s, everything readable {settled:.1f} s after "
        f"the last; its state is {size} bytes."
    )


def _settle(platform: Platform) -> float:
    began = time.perf_counter()
    wait_until_nothing_lags(platform.settings, OnlineStore(platform.settings), SETTLE_SECONDS)
    return time.perf_counter() - began


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
