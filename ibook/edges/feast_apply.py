"""Register `feature_repo/` with Feast, in a process of its own: the caller stays free of Feast's memory and imports."""

import os
import subprocess
import sys
from hashlib import blake2b
from importlib import metadata, util
from pathlib import Path

import structlog

from ibook.edges.feast_config import registry_path, write_yaml
from ibook.edges.feast_views import VIEWS
from ibook.errors import ConfigurationError
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES, FEATURE_NAMES_HASH
from ibook.settings import Settings

log = structlog.get_logger()

APPLY_SECONDS = 120.0
PACKAGE = "feature_repo"


def apply_feature_repo(settings: Settings, *, timeout_seconds: float = APPLY_SECONDS) -> bool:
    """Make Feast's registry and `feature_store.yaml` in the data folder match the definitions and the addresses.

    False, within milliseconds, when the registry is up to date; else it takes some ten seconds. Redis need not be
    there unless a view was removed. Raises ConfigurationError: the folder can't be written, or Feast's last line.
    """
    try:
        write_yaml(settings)
    except OSError as error:
        raise ConfigurationError(f"Feast's configuration can't be written: {error}.") from error
    if is_applied(settings):
        return False
    _register(settings, timeout_seconds)
    return True


def _register(settings: Settings, timeout_seconds: float) -> None:
    addresses = {
        "IBOOK_DATA_DIR": str(settings.data_dir.absolute()), "IBOOK_REDIS_URL": settings.redis_url,
        "IBOOK_OFFLINE_STORE": settings.offline_store, "IBOOK_BIGQUERY_PROJECT": settings.bigquery_project,
        "IBOOK_BIGQUERY_DATASET": settings.bigquery_dataset, "IBOOK_BIGQUERY_LOCATION": settings.bigquery_location,
    }  # fmt: skip
    command = [sys.executable, "-m", PACKAGE, "--now"]
    try:
        done = subprocess.run(
            command, env=os.environ | addresses, capture_output=True, text=True, timeout=timeout_seconds, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"Feast took more than {timeout_seconds:.0f} s to register the features.") from error
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines() or ["no output"]
        raise ConfigurationError(f"Feast did not register the features: {lines[-1]}") from error
    if done.stderr:
        log.warning("Feast registered the features and said", said=done.stderr.strip())


def fingerprint(settings: Settings) -> str:
    """Changes whenever registering again would change the registry."""
    digest = blake2b(digest_size=16)
    for path in sorted(repo_folder().glob("*.py")):
        digest.update(path.read_bytes())
    names = {entity: declared.names for entity, declared in ENTITY_FEATURES.items()}
    offline = (settings.offline_store, settings.bigquery_project, settings.bigquery_dataset)
    described = (
        metadata.version("feast"), VIEWS, names, FEATURE_NAMES, FEATURE_NAMES_HASH, registry_path(settings), offline
    )  # fmt: skip
    digest.update(repr(described).encode())
    return digest.hexdigest()


def is_applied(settings: Settings) -> bool:
    """Whether the registry was made from these definitions."""
    stored = _fingerprint_path(settings)
    return registry_path(settings).exists() and stored.exists() and stored.read_text() == fingerprint(settings)


def mark_applied(settings: Settings) -> None:
    """Remember what the registry was made from."""
    _fingerprint_path(settings).write_text(fingerprint(settings))


def repo_folder() -> Path:
    """The folder of the definitions, found without importing it."""
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"The package {PACKAGE} is not installed beside ibook.")
    return Path(spec.origin).parent


def _fingerprint_path(settings: Settings) -> Path:
    return registry_path(settings).with_suffix(".fingerprint")
