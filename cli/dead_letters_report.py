"""Dead letters for a terminal, and as plain values."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from cli.since import age
from ibook.letters import Fate, Summary, transaction_of
from ibook.messages import DeadLetter

if TYPE_CHECKING:
    from rich.table import Table

    from ibook.edges.dead_letters import Redriven

SHOWN_CHARS = 4_000
"""Of a payload; `--json` has all of it."""
LEFT: dict[Fate, str] = {
    "answered": "answered meanwhile, left alone: no purchase is answered twice",
    "attempts": "redriven as often as IBOOK_REDRIVE_ATTEMPTS allows, left",
    "reason": "can be read, so others have counted them, left: --force WHY redrives them",
    "compacted": "of topics where the newest message counts, left: --force WHY puts them on top of it",
    "lost": "neither whole here nor still in their topic, left",
}


def summary_table(rows: Sequence[Summary], now: datetime) -> "Table":
    """What `list` prints."""
    from rich.table import Table

    table = Table("source topic", "reason", box=None)
    for head in ("count", "redriven", "oldest", "newest", "attempts"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(printable(row.topic), printable(row.reason), f"{row.count:,}", f"{row.redriven:,}",
                      age(row.oldest, now), age(row.newest, now), str(row.attempts))  # fmt: skip
    return table


def summary_values(rows: Sequence[Summary], now: datetime) -> list[dict[str, Any]]:
    """The same as plain values; ages are in seconds."""
    return [
        {
            **msgspec.to_builtins(row),
            "oldest_seconds": (now - row.oldest).total_seconds(),
            "newest_seconds": (now - row.newest).total_seconds(),
        }
        for row in rows
    ]


def letter_lines(letter: DeadLetter, went_back: bool) -> list[str]:
    """What `show` prints of a letter."""
    headers = [f"  {printable(name)}: {printable_bytes(value)}" for name, value in letter.headers or ()]
    facts = {
        "position": f"{letter.topic}:{letter.partition}:{letter.offset}",
        "transaction": transaction_of(letter) or "not told",
        "reason": f"{letter.reason}: {letter.detail}",
        "refused": f"{letter.occurred_at.isoformat()} by {letter.worker}",
        "attempt": f"{letter.attempt}{', redriven since' if went_back else ''}",
        "key": "none, or not kept" if letter.key is None else printable_bytes(letter.key),
        "payload": f"{len(letter.payload):,} bytes{', the beginning of it' if letter.truncated else ''}",
    }
    lines = [f"{name:<12} {printable(value)}" for name, value in facts.items()]
    return [*lines, "headers", *(headers or ["  none, or not kept"]), *payload_lines(letter.payload)]


def letter_values(letter: DeadLetter, went_back: bool) -> dict[str, Any]:
    """A letter as plain values; bytes are base64."""
    return {**msgspec.to_builtins(letter), "transaction_id": transaction_of(letter), "redriven": went_back}


def payload_lines(payload: bytes) -> list[str]:
    """A payload as text: JSON laid out, other text as it is, anything else as base64; escaped, and not all of it."""
    try:
        text = payload.decode()
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except UnicodeDecodeError:
        text = f"base64 {base64.b64encode(payload).decode()}"
    except (ValueError, RecursionError):
        pass  # not JSON: as it is
    lines = [printable(line) for line in text[:SHOWN_CHARS].splitlines()]
    return [*lines, f"… {len(text) - SHOWN_CHARS:,} characters more: --json"] if len(text) > SHOWN_CHARS else lines


def printable(text: str) -> str:
    """Text without anything that a terminal would obey.

    >>> printable("a\\x1b[2Jb\\u202e")
    'a\\\\x1b[2Jb\\\\u202e'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def printable_bytes(value: bytes) -> str:
    """Bytes as text, the rest as escapes."""
    return printable(value.decode(errors="backslashreplace"))


def redriven_sentences(done: "Redriven", dry_run: bool) -> list[str]:
    """What was done, or would be."""
    count = done.fates["redriven"]
    where = ", ".join(f"{printable(topic)} {number:,}" for topic, number in done.by_topic.most_common())
    did = "would go back" if dry_run else "went back"
    first = f"{count:,} {'message' if count == 1 else 'messages'} {did}{f': {where}' if where else ''}."
    left = [f"{done.fates[fate]:,} {sentence}." for fate, sentence in LEFT.items() if done.fates[fate]]
    return [first, *left]


def redriven_values(done: "Redriven", dry_run: bool) -> dict[str, Any]:
    """The same as plain values."""
    fates: tuple[Fate, ...] = ("redriven", *LEFT)
    return {"dry_run": dry_run, **{fate: done.fates[fate] for fate in fates}, "by_topic": dict(done.by_topic)}
