"""Pages agree with the code: their tables, their links, the commands they name, the decisions' form."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs.generated import BLOCK, BLOCKS, ROOT, pages, renewed

PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *pages()]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MAKE = re.compile(r"\bmake ([a-z-]+)\b")
IBOOK = re.compile(r"(?:\.venv/bin/|`)ibook ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+)\b)?")
MODULE = re.compile(r"python -m ([a-z_.]+)")


@each_page
def test_generated_tables_are_as_the_code_has_them(page: Path) -> None:
    text = page.read_text()
    assert text == renewed(text), "run: python -m tests.docs.generated"


def test_every_table_stands_on_some_page() -> None:
    assert {name for page in PAGES for _, name, _ in BLOCK.findall(page.read_text())} == set(BLOCKS)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = [target for target in LINK.findall(FENCED.sub("", page.read_text())) if not _leads_somewhere(page, target)]
    assert broken == []


def _leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    return path.exists() and (not anchor or anchor in _anchors(path))


def _anchors(page: Path) -> set[str]:
    """The anchors that a renderer makes of a page's headings."""
    headings = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    prose = re.findall(r"`[^`\n]+`|^(?: {4}|\$ ).*$", FENCED.sub("", page.read_text()), re.MULTILINE)
    named = MAKE.findall(" ".join(prose + FENCED.findall(page.read_text())))
    assert set(named) <= targets


@each_page
def test_ibook_commands_exist(page: Path) -> None:
    for command, argument in set(IBOOK.findall(page.read_text())):
        assert command in _commands(), command
        if argument and command in _groups():
            assert argument in _groups()[command], f"{command} {argument}"


@cache
def _groups() -> dict[str, set[str]]:
    """The command groups of `ibook`, and their commands."""
    from cli.main import app

    return {str(group.name): _names(group) for group in app.registered_groups if group.name}


@cache
def _commands() -> set[str]:
    """What may follow `ibook`."""
    from cli.main import app

    return {*_groups(), *(name for group in app.registered_groups if not group.name for name in _names(group))}


def _names(group: Any) -> set[str]:
    return {str(each.name or each.callback.__name__) for each in group.typer_instance.registered_commands}


@each_page
def test_modules_that_are_run_exist(page: Path) -> None:
    for name in set(MODULE.findall(page.read_text())):
        assert importlib.util.find_spec(name.rstrip(".")), name


# ---------------------------------------------------------------------------------------------------------- decisions
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives"]


def test_decisions_are_numbered_one_after_another() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decision_keeps_to_the_template_and_to_one_page(path: Path) -> None:
    text = path.read_text()
    assert re.match(rf"# {path.name[:4]}\. .+\n\n", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(text.splitlines()) <= 60
