"""Settings to Feast's configuration: the same addresses for the workers, the registry and plain SDK calls."""

import json
from importlib import util
from pathlib import Path
from typing import Any

from ibook.errors import ConfigurationError
from ibook.settings import Settings

PROJECT = "ibook"
ENTITY_KEY_VERSION = 3
DUCKDB_STORE = "ibook.edges.feast_duckdb.AsofDuckDBOfflineStore"
SDK_SECONDS = 5.0
"""How long plain SDK calls wait for Redis; the workers' own bound is a setting."""


def registry_path(settings: Settings) -> Path:
    """Where Feast keeps what is registered."""
    return settings.data_dir.absolute() / "registry.db"


def yaml_path(settings: Settings) -> Path:
    """The configuration with concrete addresses, for `FeatureStore(fs_yaml_file=…)`."""
    return settings.data_dir.absolute() / "feature_store.yaml"


def redis_options(url: str, timeout_seconds: float) -> dict[str, Any]:
    """What a Redis client is made with for a URL; every wait is bounded and none is repeated.

    Raises ConfigurationError for a URL that Redis or Feast does not understand.
    """
    from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

    try:
        options: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(f"setting IBOOK_REDIS_URL is refused: {error}.") from error
    kind = options.pop("connection_class", None)
    host, port = options.pop("host", "localhost"), options.pop("port", 6379)
    if kind is UnixDomainSocketConnection or ":" in host:
        raise ConfigurationError("setting IBOOK_REDIS_URL is refused: Feast needs a host name or an IPv4 address.")
    if kind is SSLConnection:
        options["ssl"] = True
    # Redis-py would try three times with pauses of seconds; our callers have a fallback and want to know at once.
    bounds = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds, "retry": None}
    return {"host": host, "port": port, "db": 0, **dict(sorted(options.items())), **bounds}


def redis_connection(url: str, timeout_seconds: float) -> str:
    """A Redis URL in Feast's own notation, `host:port,option=value,…`, as `redis_options` takes it apart.

    Values travel as JSON, since Feast splits at commas and parses what looks like JSON. Raises ConfigurationError.

    >>> redis_connection("redis://:p,w@cache:6380/2", 0.25)
    'cache:6380,db=2,password="p\\\\u002cw",socket_timeout=0.25,socket_connect_timeout=0.25,retry=null'
    """
    options = redis_options(url, timeout_seconds)
    address = f"{options.pop('host')}:{options.pop('port')}"
    return ",".join([address, *(f"{name}={_json(value)}" for name, value in options.items())])


def _json(value: Any) -> str:
    return json.dumps(value).replace(",", "\\u002c")


def write_yaml(settings: Settings) -> Path:
    """Write the configuration for plain SDK calls, readable by its owner alone: the address may hold a password.

    Raises ConfigurationError for an address or an offline store that can't be used, OSError for the folder.
    """
    connection = redis_connection(settings.redis_url, SDK_SECONDS)
    described = {
        "project": PROJECT,
        "provider": "local",
        "registry": str(registry_path(settings)),
        "online_store": {"type": "redis", "connection_string": connection.replace("$", "\\u0024")},
        "offline_store": offline_config(settings),
        "entity_key_serialization_version": ENTITY_KEY_VERSION,
    }
    path = yaml_path(settings)
    text = json.dumps(described, indent=2) + "\n"  # JSON is YAML
    if path.exists() and path.read_text() == text:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def offline_config(settings: Settings) -> dict[str, str]:
    """Feast's configuration of the offline store. Raises ConfigurationError when BigQuery can't be used."""
    if settings.offline_store == "duckdb":
        return {"type": DUCKDB_STORE}
    if not settings.bigquery_project:
        raise ConfigurationError("IBOOK_OFFLINE_STORE=bigquery needs a project: set IBOOK_BIGQUERY_PROJECT.")
    if not has_bigquery():
        raise ConfigurationError("IBOOK_OFFLINE_STORE=bigquery needs Google's client: pip install 'ibook[gcp]'.")
    return {
        "type": "bigquery", "project_id": settings.bigquery_project, "dataset": settings.bigquery_dataset,
        "location": settings.bigquery_location,
    }  # fmt: skip


def has_bigquery() -> bool:
    """Whether the libraries are there that Feast reads BigQuery with."""
    try:
        return all(util.find_spec(f"google.cloud.{name}") for name in ("bigquery", "storage"))
    except ModuleNotFoundError:  # there is no google.cloud at all
        return False
