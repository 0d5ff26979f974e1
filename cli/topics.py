"""`ibook topics`: Kafka's topics, listed and made as they are declared."""

import sys

import typer

from cli.settings import DataDir, settings_of_running

app = typer.Typer(help="Kafka's topics: list them, make them as declared.", no_args_is_help=True)


@app.command()
def apply(data_dir: DataDir = None) -> None:
    """Create what is missing; say what differs. Safe to repeat.

    Refuses another partition count than the topics have: keys would move away from their history.
    """
    from ibook.edges.kafka_admin import apply_topics

    changes = apply_topics(settings_of_running(data_dir))
    for name in changes.created:
        print(f"created {name}")
    for sentence in changes.differences:
        print(f"left as it is: {sentence}")
    if not (changes.created or changes.differences):
        print("All topics are as declared.")


@app.command(name="list")
def list_(data_dir: DataDir = None) -> None:
    """Every topic: partitions declared and found, how long it is kept, who writes and reads it."""
    from rich.console import Console
    from rich.table import Table

    from ibook.edges.kafka_admin import list_topics, partition_count
    from ibook.topics import CHANGELOGS, TOPICS

    settings = settings_of_running(data_dir)
    found = list_topics(settings)
    table = Table("topic", "partitions", "kept", "key", "written by", "read by", box=None)
    for topic in (*TOPICS, *CHANGELOGS):
        declared = partition_count(topic, settings)
        count = found.pop(topic.name, None)
        partitions = "missing" if count is None else str(count) if count == declared else f"{count}, not {declared}"
        table.add_row(topic.name, partitions, _kept(topic.retention_days, topic.compacted), topic.key,
                      topic.written_by, topic.read_by)  # fmt: skip
    for name, count in found.items():
        table.add_row(name, str(count), "", "", "", "(not declared)")
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _kept(days: int, compacted: bool) -> str:
    return "compacted" if compacted else "for ever" if days < 0 else f"{days} d"
