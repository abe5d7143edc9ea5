"""What several figures ask of their tables."""

import pandas as pd

from moe_lib.errors import require


def require_columns(argument: str, table: pd.DataFrame, *columns: str) -> None:
    """`table` must have rows, and these columns."""
    wants = f"a table with the columns {', '.join(columns)}" if columns else "a table with columns"
    missing = [name for name in columns if name not in table]
    require(not missing and table.shape[1] > 0, argument, [*table.columns], wants)
    require(len(table) > 0, argument, "no rows", "at least one")


def require_numbers(argument: str, table: pd.DataFrame) -> None:
    """`table` must have entries, all of them numbers."""
    require(table.size > 0, argument, tuple(table.shape), "a table with rows and columns")
    numbers = all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)
    require(numbers, argument, [str(kind) for kind in table.dtypes], "numbers only", TypeError)
