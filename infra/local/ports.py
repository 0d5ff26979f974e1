"""Which ports a platform listens on: those of the last time, so that addresses stay."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ibook.settings import Settings
from infra.local.processes import claim_port, free_port, port_is_free
from infra.local.state import PlatformState


class Ports:
    """Chooses the port called `kafka`, `redis` or `serving`."""

    def __init__(self, preferred: Mapping[str, int], earlier: PlatformState | None) -> None:
        self._preferred = preferred
        self._earlier = {} if earlier is None else _ports_of(earlier)

    def choose(self, name: str, *, named: int | None = None) -> int:
        """`named` as it is; else the earlier one if it is free, else the preferred one, else any.

        Raises ConfigurationError when `named` is taken.
        """
        if named is not None:
            return claim_port(named, name.capitalize())
        wanted = [self._earlier.get(name), self._preferred.get(name)]
        return next((port for port in wanted if port and port_is_free(port)), None) or free_port()


def named_serving_port(settings: Settings) -> int | None:
    """The serving port, if the settings were given one."""
    return settings.serving_port if "serving_port" in settings.model_fields_set else None


def _ports_of(earlier: PlatformState) -> dict[str, int]:
    kafka = earlier.kafka_bootstrap.rpartition(":")[2]
    redis = urlsplit(earlier.redis_url).port
    return {"kafka": int(kafka) if kafka.isdigit() else 0, "redis": redis or 0, "serving": earlier.serving_port}
