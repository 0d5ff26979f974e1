"""The pages that commands write: one HTML file each that needs no network."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def rendered(template: str, **values: Any) -> str:
    """A template of this folder, filled in. Everything that comes from data is escaped by it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**values)
