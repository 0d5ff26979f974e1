"""Feast's rows in Redis, a whole batch in one request: scripts that run inside Redis, and the bytes they are given.

A row is a hash. Feast keeps each column of a view in a field of its own, and the view's event timestamp beside them as
a protobuf. Its provider asks for the timestamps and then writes, one command a row and two round trips a view; most of
what a push cost went into making those commands. What is written here, Feast's own reads find.
"""

from collections.abc import Sequence
from typing import Any

READ = """
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HGET', key, ARGV[i]) end
return found
"""
"""KEYS: rows; ARGV: a field each. Their values, all of one instant."""

WRITE = """
local function seconds_and_nanos(timestamp)
  local at, numbers = 1, {0, 0}
  while at <= #timestamp do
    local field, value, scale = timestamp:byte(at), 0, 1
    repeat
      at = at + 1
      local byte = timestamp:byte(at)
      value, scale = value + byte % 128 * scale, scale * 128
    until byte < 128
    numbers[field == 8 and 1 or 2], at = value, at + 1
  end
  return numbers[1], numbers[2]
end

local stamp_field, n_columns, at = ARGV[1], tonumber(ARGV[2]), 3 + ARGV[2]
for _, key in ipairs(KEYS) do
  local stamp = ARGV[at]
  local new_s, new_ns = seconds_and_nanos(stamp)
  local old_s, old_ns = seconds_and_nanos(redis.call('HGET', key, stamp_field) or '')
  if old_s + old_ns == 0 or new_s > old_s or (new_s == old_s and new_ns > old_ns) then
    local row = {stamp_field, stamp}
    for column = 1, n_columns do
      row[#row + 1] = ARGV[2 + column]
      row[#row + 1] = ARGV[at + column]
    end
    redis.call('HSET', key, unpack(row))
  end
  at = at + 1 + n_columns
end
"""
"""KEYS: rows of one view; ARGV: the timestamp's field, how many columns, their fields; a timestamp and the columns per
row. A row that is not newer than the stored one is dropped, as Feast drops it; no timestamp, or the epoch, is older
than any. Numbers are doubles there: hence seconds and nanoseconds apart.
"""

Row = tuple[bytes, bytes, list[bytes]]
"""Key, timestamp as a protobuf, a value per column."""


def read(client: Any, cells: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
    """The values of (row, field) cells, None where there is none. Raises RedisError."""
    keys, fields = zip(*cells, strict=True)
    values: list[bytes | None] = client.register_script(READ)(keys=keys, args=fields)
    return values


def write(client: Any, stamp_field: str, fields: Sequence[bytes], rows: Sequence[Row]) -> None:
    """Write rows of one view, whose columns are in `fields`. Raises RedisError."""
    args: list[bytes | str | int] = [stamp_field, len(fields), *fields]
    for _, stamp, values in rows:
        args.append(stamp)
        args += values
    client.register_script(WRITE)(keys=[key for key, *_ in rows], args=args)
