"""The named code blocks of a page, and what their kcat and curl commands would do."""

import itertools
import json
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

NAMED = re.compile(r"^```(python|bash|text|toml) (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<EOF\n(.*?\n)EOF$", re.DOTALL | re.MULTILINE)


def named_blocks(page: Path) -> dict[str, str]:
    """Name -> text of every block that has a name after its language."""
    blocks = NAMED.findall(page.read_text())
    assert len({name for _, name, _ in blocks}) == len(blocks), "two blocks of one name"
    return {name: text for _, name, text in blocks}


def commands(block: str, program: str) -> list[list[str]]:
    """The words of every call of a program in a shell block, without the program's name."""
    lines = HERE_DOCUMENT.sub("", block).replace("\\\n", " ").replace("|\n", "| ").splitlines()
    parts = [part for line in lines for part in _split(shlex.split(line, comments=True))]
    return [words[1:] for words in parts if words and words[0] == program]


def _split(words: list[str]) -> list[list[str]]:
    """The commands of a pipe."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


@dataclass(frozen=True)
class KcatCall:
    """One call of kcat."""

    publishes: bool
    topic: str
    key: str
    headers: dict[str, str]
    payload: bytes
    """What is published; empty when it reads."""


def kcat_calls(block: str) -> list[KcatCall]:
    """What the kcat commands of a block do."""
    files = {name: text.replace("$NOW", datetime.now(UTC).isoformat()) for name, text in HERE_DOCUMENT.findall(block)}
    said = [" ".join(words) for words in commands(block, "echo")]
    return [_kcat_call(words, files, said[0] if said else "") for words in commands(block, "kcat")]


def _kcat_call(words: list[str], files: dict[str, str], said: str) -> KcatCall:
    options = {word: following for word, following in itertools.pairwise(words) if word.startswith("-")}
    headers = [b for a, b in itertools.pairwise(words) if a == "-H"]
    publishes = "-P" in words
    return KcatCall(
        publishes=publishes,
        topic=options["-t"],
        key=options.get("-k", ""),
        headers=dict(header.split("=", 1) for header in headers),
        payload=files.get(words[-1], said).encode() if publishes else b"",
    )


@dataclass(frozen=True)
class CurlCall:
    """One call of curl: GET without a body, POST with one."""

    path: str
    body: object


def curl_calls(block: str) -> list[CurlCall]:
    """What the curl commands of a block ask for."""
    return [_curl_call(words) for words in commands(block, "curl")]


def _curl_call(words: list[str]) -> CurlCall:
    url = next(word for word in words if word.startswith("$PRICES"))
    body = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
    return CurlCall(url.removeprefix("$PRICES"), body)
