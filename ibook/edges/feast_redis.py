"""Feast's Redis store, configured by a URL: what `feature_repo/feature_store.yaml` names. Imports Feast."""

import os
from typing import Literal

from pydantic import field_validator

from ibook.edges.feast_config import SDK_SECONDS, redis_connection
from ibook.edges.feast_import import import_feast

import_feast()
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig  # noqa: E402

EXPORTED = ("IBOOK_DATA_DIR", "IBOOK_REDIS_URL")


class UrlRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """Takes a Redis URL where Feast wants its own notation."""

    type: Literal["ibook.edges.feast_redis.UrlRedisOnlineStore"] = "ibook.edges.feast_redis.UrlRedisOnlineStore"

    @field_validator("connection_string", mode="before")
    @classmethod
    def _from_url(cls, value: str) -> str:
        # Feast leaves the placeholder of an unset variable as it is, and would make a folder of that name.
        missing = [name for name in EXPORTED if not os.environ.get(name)]
        if missing:
            raise ValueError(f"export {' and '.join(missing)} first")
        return redis_connection(value, SDK_SECONDS) if "://" in value else value


class UrlRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """Feast's Redis store as it is; its name is how Feast finds the configuration above."""
