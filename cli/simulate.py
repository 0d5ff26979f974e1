"""`ibook simulate`: the commands of `python -m simulator`, on the platform that runs here."""

from simulator.__main__ import app

__all__ = ["app"]
