"""The truth of a long past as Parquet, written while it happens: what is written is not kept in memory."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.truth import TasteTruth, TransactionTruth, Truth

TRANSACTIONS = pa.schema(
    [("transaction_id", pa.string()), ("occurred_us", pa.int64()), ("is_fraud", pa.bool_()), ("is_abuse", pa.bool_()),
     ("pattern", pa.string()), ("look_alike", pa.string()), ("attack", pa.int64())]
)  # fmt: skip
TASTES = pa.list_(pa.struct([(name, pa.string() if name == "segment" else pa.float64())
                             for name in TasteTruth.__struct_fields__]))  # fmt: skip
DEMAND = pa.schema(
    [("event_id", pa.string()), ("ticket_type", pa.string()), ("list_price_minor", pa.int64()),
     ("floor_minor", pa.int64()), ("cap_minor", pa.int64()), ("intercept", pa.float64()), ("slope", pa.float64()),
     ("elasticity_at_list", pa.float64()), ("tastes", TASTES)]
)  # fmt: skip
CHANGES = pa.schema([("occurred_us", pa.int64()), ("what", pa.string())])
ATTACKS = pa.schema([("attack", pa.int64()), ("pattern", pa.string()), ("started_us", pa.int64())])
REACTIONS = pa.schema([("attack", pa.int64()), ("occurred_us", pa.int64()), ("what", pa.string())])
ROWS_PER_GROUP = 20_000


class TruthFiles:
    """`<folder>/{transactions,demand,attacks,reactions,changes}.parquet`, one row per record.

    `take` what a truth holds now and then, `close` in the end.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._writer = pq.ParquetWriter(folder / "transactions.parquet", TRANSACTIONS, compression="zstd")
        self.patterns: Counter[str] = Counter()
        """Purchases per pattern, of those taken so far."""

    def take(self, truth: Truth) -> None:
        """Write the purchases that are many enough for a row group, and let the truth forget them."""
        if len(truth.transactions) >= ROWS_PER_GROUP:
            self._take_all(truth.transactions)

    def close(self, truth: Truth) -> None:
        """Write what is left, and what a truth has one of per event, campaign or change."""
        self._take_all(truth.transactions)
        self._writer.close()
        attacks = truth.attacks.values()
        self._write("demand", DEMAND, truth.demand)
        self._write("changes", CHANGES, truth.changes)
        self._write("reactions", REACTIONS, [reaction for attack in attacks for reaction in attack.reactions])
        rows = [
            {"attack": attack.number, "pattern": attack.pattern, "started_us": attack.started_us} for attack in attacks
        ]
        self._write("attacks", ATTACKS, rows)

    def _take_all(self, transactions: dict[str, TransactionTruth]) -> None:
        self.patterns.update(record.pattern for record in transactions.values())
        self._writer.write_table(_table(TRANSACTIONS, transactions.values()))
        transactions.clear()

    def _write(self, name: str, schema: pa.Schema, records: Iterable[Any]) -> None:
        pq.write_table(_table(schema, records), self._folder / f"{name}.parquet", compression="zstd")


def _table(schema: pa.Schema, records: Iterable[Any]) -> pa.Table:
    rows = [record if isinstance(record, dict) else msgspec.to_builtins(record) for record in records]
    return pa.Table.from_pylist(rows, schema=schema)
