"""When two answers are the same.

- Types of columns are equal (Quorate with Quorate); with DuckDB, values are: its integers and times have other widths.
- Integers, texts, truths and times are equal; doubles by their bits. DuckDB has one NaN only: there any is any.
- A `close` column is a sum in floating point, and depends on the order of rows: equal to 1e-9 of the larger value, or of
  the column's scale, 1e3.
- Rows without an order are multisets. With one, the columns that are ordered by follow each other alike.
"""

import decimal
import math

import pyarrow as pa

from .values import bits

RELATIVE, SCALE = 1e-9, 1e3


def plain(value):
    """Lists and structs without types."""
    if isinstance(value, dict):
        return tuple((key, plain(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(plain(inner) for inner in value)
    if isinstance(value, float):
        return ("f", bits(value) if value == value else "NaN")
    return value


def column_values(column, exact_nan):
    """Python values that are equal where the column's are."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()).to_pylist()
    if pa.types.is_floating(column.type):
        return [None if value is None else ("f", bits(value) if value == value or exact_nan else "NaN")
                for value in column.to_pylist()]
    if pa.types.is_decimal(column.type):
        return [int(value) if isinstance(value, decimal.Decimal) and value == int(value) else value
                for value in column.to_pylist()]
    if pa.types.is_nested(column.type):
        return [plain(value) for value in column.to_pylist()]
    return column.to_pylist()


def close_values(column):
    return [None if value is None else float(value) for value in column.to_pylist()]


def is_close(left, right):
    if left is None or right is None:
        return left is right
    if left == right or (left != left and right != right):
        return True
    if math.isinf(left) or math.isinf(right):
        return False
    return abs(left - right) <= RELATIVE * max(abs(left), abs(right), SCALE)


def rows_of(table, close, exact_nan):
    columns = [close_values(table.column(i)) if is_near else column_values(table.column(i), exact_nan)
               for i, is_near in enumerate(close)]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def sort_key(row, close):
    """Exact columns first, so that near values are compared within equal rows."""
    def key(value):
        if isinstance(value, float):
            return (2, "", value) if value == value else (3, "", 0)
        return (0, "", 0) if value is None else (1, type(value).__name__ + repr(value), 0)
    return ([key(value) for value, near in zip(row, close) if not near], [key(value) for value, near in zip(row, close) if near])


def same_row(left, right, close):
    return all(is_close(a, b) if near else a == b for a, b, near in zip(left, right, close, strict=True))


def difference(left, right, shape, types):
    """What differs, in a line, or None. `shape` has `close`, `mode`, `keys` of a query."""
    if left.num_columns != right.num_columns:
        return f"{left.num_columns} columns and {right.num_columns}"
    if types and left.schema.remove_metadata() != right.schema.remove_metadata():
        found = [f"{a} and {b}" for a, b in zip(left.schema, right.schema) if a.type != b.type or a.name != b.name]
        if found:
            return "columns " + ", ".join(found)
    if left.num_rows != right.num_rows:
        return f"{left.num_rows} rows and {right.num_rows}"
    if shape.mode == "count":
        return None
    first, second = rows_of(left, shape.close, types), rows_of(right, shape.close, types)
    if shape.keys:
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            if [a[key] for key in shape.keys] != [b[key] for key in shape.keys]:
                return f"row {number} in order: {a} and {b}"
    if shape.mode == "keys":
        return None
    if shape.mode != "sequence":
        first.sort(key=lambda row: sort_key(row, shape.close))
        second.sort(key=lambda row: sort_key(row, shape.close))
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        if not same_row(a, b, shape.close):
            return f"row {number}: {a} and {b}"
    return None
