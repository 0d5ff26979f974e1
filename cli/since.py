"""Instants on a command line: an age or a time."""

import re
from datetime import datetime, timedelta

from ibook.errors import ConfigurationError

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since(text: str, now: datetime) -> datetime | None:
    """The instant that `30m`, `24h`, `7d` or an RFC 3339 time with an offset names; None for nothing.

    Raises ConfigurationError.

    >>> from datetime import UTC
    >>> since("36h", datetime(2026, 3, 14, 12, tzinfo=UTC)).isoformat()
    '2026-03-13T00:00:00+00:00'
    """
    if not text:
        return None
    if age := _AGE.fullmatch(text):
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(f"--since {text!r} is neither an age like 30m, 24h, 7d nor a time with an offset.")
    return moment


def age(moment: datetime, now: datetime) -> str:
    """How long ago something was, in its largest unit.

    >>> from datetime import UTC
    >>> age(datetime(2026, 3, 14, 10, 29, tzinfo=UTC), datetime(2026, 3, 14, 12, tzinfo=UTC))
    '91 m'
    """
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
