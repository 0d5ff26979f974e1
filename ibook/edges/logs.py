"""How every process of ours writes its log."""

from typing import Any

import structlog


def log_plainly(**options: Any) -> None:
    """Lines for a file, and tracebacks without the values of variables: those hold purchases and passwords.

    `options` are further ones of `structlog.configure`.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        **options,
    )
