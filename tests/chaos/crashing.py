"""A worker that dies where it is told to: `python -m tests.chaos.crashing WORKER`.

Each line of the file that IBOOK_CRASHES names is one life: `before evidence` kills the process, as kill -9 does,
instead of a call of that step; `after evidence` when the call has returned. When there are no lines left it lives on.
The lives are forked from a process that has everything imported, so that one costs a second instead of ten. No code
of the worker knows of this: the steps are wrapped from here, and one that has moved away fails at start.
"""

import asyncio
import ctypes
import functools
import importlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ibook.settings import load_settings
from ibook.topics import DEAD_LETTERS, FRAUD_EVIDENCE, FRAUD_VERDICTS, PRICE_POLICIES, PRICE_REWARDS, QUOTE_JOURNAL
from infra.local.workers import Worker
from streams.__main__ import run

CALLS = 4
"""A life takes part in some work before it ends."""
PR_SET_PDEATHSIG = 1
Function = Callable[..., Any]


def die(crash: str) -> None:
    """kill -9, by our own hand."""
    print(f"dies {crash}", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Function, crash: str, counts: Callable[..., bool]) -> Function:
    """The function, which kills the process before or after its `CALLS`th call that `counts`."""
    calls = 0

    def _now(when: str, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        if crash.startswith(when) and counts(*args, **kwargs):
            calls += 1
            if calls >= CALLS:
                die(crash)

    @functools.wraps(function)
    async def _asynchronous(*args: Any, **kwargs: Any) -> Any:
        _now("before", *args, **kwargs)
        result = await function(*args, **kwargs)
        _now("after", *args, **kwargs)
        return result

    @functools.wraps(function)
    def _synchronous(*args: Any, **kwargs: Any) -> Any:
        _now("before", *args, **kwargs)
        result = function(*args, **kwargs)
        _now("after", *args, **kwargs)
        return result

    return _asynchronous if asyncio.iscoroutinefunction(function) else _synchronous


def arm(worker: str, crash: str) -> None:
    """Wrap the step, before the worker is imported: it takes names over. Raises AttributeError when one has moved."""
    module, name, counts = _STEPS[worker][crash.split(" ", 1)[1]]
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    setattr(owner, last, deadly(getattr(owner, last), crash, counts))


def _of_topic(name: str) -> Callable[..., bool]:
    return lambda app, topic, *_: topic == name


def _asks_for_states(reader: object, keys: dict[str, object], *_: object) -> bool:
    return any(keys.values())


def _in_the_loop(*_: object) -> bool:
    """Not the golden rows, which the thread that follows the releases scores."""
    return threading.current_thread() is threading.main_thread()


def _changes_states(table: object, partition: int, records: dict[bytes, bytes | None]) -> bool:
    return bool(records)


Steps = dict[str, tuple[str, str, Callable[..., bool]]]
_ENDS: Steps = {
    "acknowledge": ("streams.batches", "acknowledge", lambda *_: True),
    "commit": ("aiokafka", "AIOKafkaConsumer.commit", lambda *_: True),
}
_STATES: Steps = {"states": ("streams.state_table", "StateTable.write", _changes_states)}
_STEPS: dict[str, Steps] = {
    "purchases-to-verdicts": {
        "read": ("ibook.edges.feature_reader", "FeatureReader.read", _asks_for_states),
        "score": ("ibook.edges.fraud_model", "FraudModel.score", _in_the_loop),
        "evidence": ("streams.publish", "publish", _of_topic(FRAUD_EVIDENCE.name)),
        "verdict": ("streams.publish", "publish", _of_topic(FRAUD_VERDICTS.name)),
        "dead letter": ("streams.publish", "publish", _of_topic(DEAD_LETTERS.name)),
        **_ENDS,
    },
    "outcomes-to-journal": {"entries": ("streams.publish", "publish", _of_topic(QUOTE_JOURNAL.name)), **_ENDS},
    "journal-to-rewards": {
        **_STATES,
        "rewards": ("streams.publish", "publish", _of_topic(PRICE_REWARDS.name)),
        "tick": ("streams.publish", "publish", _of_topic(QUOTE_JOURNAL.name)),
        **_ENDS,
    },
    "rewards-to-policies": {
        **_STATES,
        "policy": ("streams.publish", "publish", _of_topic(PRICE_POLICIES.name)),
        **_ENDS,
    },
}
"""Worker -> step -> module and name of what is wrapped, and which of its calls count."""


def crashes_of(worker: str) -> list[str]:
    """Before and after each of its steps."""
    return [f"{when} {step}" for step in _STEPS[worker] for when in ("before", "after")]


def mortal_worker(name: str, crashes: Path) -> Worker:
    """The worker of this name, which dies as the file says."""
    return Worker(name=name, arguments=("tests.chaos.crashing", name), environment={"IBOOK_CRASHES": str(crashes)})


def deaths(log: Iterable[str]) -> list[str]:
    """How a worker has died, by its log. Faust's terminal codes may stand before it on the line."""
    return [found[1] for line in log if (found := re.search(r"dies ((?:before|after) .+)$", line))]


def take_line(path: Path) -> str:
    """The first line of the file, which then has one less; empty when there is none."""
    first, _, rest = path.read_text().partition("\n")
    shorter = path.with_suffix(".shorter")
    shorter.write_text(rest)
    shorter.replace(path)  # at once: whoever waits for the file to be empty must not meet it half written
    return first


def live(worker: str, crash: str) -> None:
    """One life, in this process."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if crash:
        arm(worker, crash)
    run(worker, load_settings())
    os._exit(0)


def import_what_is_slow(worker: str) -> None:
    """Everything that no crash is armed in: those modules must take the armed names over when they are imported."""
    needed = ["faust", "uvloop", "aiokafka", "confluent_kafka", "ibook.bandit"]
    if worker == "purchases-to-verdicts":
        from ibook.edges.online_store import OnlineStore

        OnlineStore(load_settings())
        needed += ["xgboost", "ibook.edges.champion"]
    for name in needed:
        importlib.import_module(name)


def main(worker: str) -> int:
    """Live again and again; the exit code is the last life's."""
    import_what_is_slow(worker)
    path = Path(os.environ["IBOOK_CRASHES"])
    while True:
        crash = take_line(path)
        child = os.fork()
        if child == 0:
            live(worker, crash)
        signal.signal(signal.SIGTERM, lambda *_, child=child: os.kill(child, signal.SIGTERM))
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
