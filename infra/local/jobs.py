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
        release_bootstrap_model(settings, say)
        if registry.result():
            say("The features were registered.")


def release_bootstrap_model(settings: Settings, say: Callable[[str], None]) -> None:
    """See to it that a model decides: release the newest one that was kept, or train a first one.

    Does nothing when one was released before. Raises ConfigurationError.
    """
    from ibook.edges.kafka import BroadcastReader

    with BroadcastReader(settings, MODEL_RELEASES.name) as reader:
        if reader.load():
            return
    env, logs = environment(settings), settings.data_dir / "logs"
    kept = newest_model(settings)
    if kept is not None:
        try:
            run_job("releasing a model", ["training", "release", kept], env=env, log=logs / "training-release.log")
        except ConfigurationError as error:
            say(f"The kept model {kept} is of no use, a new one is trained: {error}")
        else:
            say(f"The fraud model {kept} was released again.")
            return
    say("Training a first fraud model on a simulated past.")
    run_job("training the first model", ["training", "bootstrap"], env=env, log=logs / "training-bootstrap.log")


def newest_model(settings: Settings) -> str | None:
    """The version written last of those in the model store that fit today's features."""
    from ibook.edges.fraud_model import METADATA_FILE, ModelMetadata, read_json
    from ibook.errors import ModelUnavailable
    from ibook.features import FEATURE_NAMES_HASH

    fitting: list[tuple[float, str]] = []
    for path in (settings.data_dir / "models" / settings.model_name).glob(f"*/{METADATA_FILE}"):
        try:
            metadata = read_json(path, ModelMetadata)
        except ModelUnavailable:
            continue  # somebody else's folder, or half a model: not one to release
        if metadata.feature_names_hash == FEATURE_NAMES_HASH:
            fitting.append((path.stat().st_mtime, metadata.version))
    return max(fitting)[1] if fitting else None
