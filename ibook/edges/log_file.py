"""A table in a file: Parquet or CSV."""

from pathlib import Path
from typing import Any

from ibook.errors import ConfigurationError


def read_table(path: Path) -> dict[str, list[Any]]:
    """Column name -> its values. Raises ConfigurationError for a file that is neither, or can't be read."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    readers = {".parquet": parquet.read_table, ".csv": csv.read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"The log {path} is neither .parquet nor .csv by its name.")
    try:
        table = reader(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"The log {path} can't be read: {' '.join(str(error).split())}") from error
    twice = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"The log {path} has two columns {twice!r}.")
    return {str(name): table.column(name).to_pylist() for name in table.column_names}
