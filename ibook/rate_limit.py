"""How many requests a second somebody may make: a token bucket each."""

from dataclasses import dataclass

BURST_SECONDS = 1.0
"""A bucket holds what may be asked for in so long."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """Token buckets by name. Times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def wait_seconds(self, name: str, per_second: float, *, now: float) -> float:
        """Take one token; 0 when there was one, else how long until there is one (and nothing was taken).

        >>> limit = RateLimit()
        >>> [limit.wait_seconds("shop", 2.0, now=at) for at in (0.0, 0.0, 0.0, 0.5)]
        [0.0, 0.0, 0.5, 0.0]
        """
        room = max(1.0, per_second * BURST_SECONDS)
        bucket = self._buckets.setdefault(name, _Bucket(room, now))
        bucket.tokens = min(room, bucket.tokens + max(0.0, now - bucket.filled_at) * per_second)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            return (1.0 - bucket.tokens) / per_second
        bucket.tokens -= 1.0
        return 0.0
