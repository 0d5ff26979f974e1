"""The options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DAY_IN_HALF_A_SECOND = 172_800.0
"""A day of label delay takes half a second, and the longest chargeback's 120 days take a minute."""


class To(StrEnum):
    """Where messages go."""

    kafka = "kafka"
    parquet = "parquet"
    jsonl = "jsonl"


Duration = Annotated[float, typer.Option(help="Seconds of load; of several runs, of each.")]
Rate = Annotated[float, typer.Option(help="Purchases per second on average; all other activity follows.")]
Seed = Annotated[int, typer.Option(help="The world: users, cards, events, demand. The same as the history's.")]
Compress = Annotated[
    float, typer.Option(help="How many times faster than in life labels and refunds come; traffic keeps its pace.")
]
Where = Annotated[
    To, typer.Option("--to", help="kafka: the running platform, by the wall clock; files: virtual time, no platform.")
]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the Parquet files, or the file of JSON lines; when left out, run or run.jsonl."),
]
TruthFile = Annotated[
    Path | None, typer.Option(help="Write the hidden truth here, as JSON lines; several runs get a file each.")
]
ReportFile = Annotated[Path | None, typer.Option(help="Write the report here, one HTML page that needs no network.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the report's figures here.")]
RecordsFile = Annotated[
    Path | None, typer.Option(help="Keep all that is judged here, truth included, to be judged again later.")
]
ThresholdsFile = Annotated[Path | None, typer.Option(help="Thresholds to judge by, instead of the simulator's own.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the running platform, instead of IBOOK_DATA_DIR or .ibook.")
]
