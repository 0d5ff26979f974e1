"""What must be there before the workers start: topics, Feast's registry, a released model."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ibook.edges.feast_apply import apply_feature_repo
from ibook.edges.kafka_admin import apply_topics
from ibook.errors import ConfigurationError
from ibook.settings import Settings
from ibook.topics import MODEL_RELEASES
from infra.local import processes
from infra.local.state import environment

_SECONDS = 600.0


def run_job(name: str, arguments: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
    """Run `python -m …` to its end. Raises ConfigurationError with the last line it logged when it fails."""
    child = processes.start(name, [sys.executable, "-m", *arguments], log=log, env=env)
    try:
        code = child.process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        child.kill()
    if code:
        lines = child.lines() or ["no output"]
        raise ConfigurationError(f"{name} failed ({lines[-1].strip()[:300]}): see {log}.")
    if code is None:
        raise ConfigurationError(f"{name} did not end within {_SECONDS:.0f} s: see {log}.")


def prepare(settings: Settings, say: Callable[[str], None]) -> None:
    """Make topics, Feast's registry and a first model, each unless it is there.

    Safe to repeat. Raises BrokerUnavailable or ConfigurationError.
    """
    with ThreadPoolExecutor(1) as pool:
        registry = pool.submit(apply_feature_repo, settings)  # needs neither Kafka nor the model
        apply_topics(settings)
        if release_bootstrap_model(settings):
            say("A first fraud model was trained and released.")
        if registry.result():
            say("The features were registered.")


def release_bootstrap_model(settings: Settings) -> bool:
    """Train and release a first model, unless one was released before; True when it had to.

    Raises ConfigurationError.
    """
    from ibook.edges.kafka import BroadcastReader

    with BroadcastReader(settings, MODEL_RELEASES.name) as reader:
        if reader.load():
            return False
    log = settings.data_dir / "logs" / "training-bootstrap.log"
    run_job("training the first model", ["training", "bootstrap"], env=environment(settings), log=log)
    return True
