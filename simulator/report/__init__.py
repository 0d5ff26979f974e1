"""A judgement on paper: one HTML page that needs no network, and the same as JSON."""

from pathlib import Path

import msgspec

from simulator.judgement import Judgement


def write_json(path: Path, judgement: Judgement) -> None:
    """The judgement with all its figures; the keys are explained in `docs/simulator.md`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(judgement), indent=2) + b"\n")


def write_report(path: Path, judgement: Judgement) -> None:
    """The judgement as a page with plots."""
    from simulator.report.page import render

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(judgement), encoding="utf-8")
