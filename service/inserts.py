"""Inserts that are made very often: composed once, and not looked at again by the toolkit each time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert


@dataclass(frozen=True, slots=True)
class _Composed:
    """A statement of the driver's own, the columns it takes in order, and what turns their values into the driver's."""

    text: str
    columns: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    positional: bool

    def values(self, row: Mapping[str, Any]) -> Any:
        found = [(name, row[name] if turn is None else turn(row[name])) for name, turn in self.columns]
        return tuple(value for _, value in found) if self.positional else dict(found)


class Insert:
    """Inserts rows that all have the same columns into a table."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        """Compose nothing yet.

        Args:
            table: where rows come.
            columns: that every row has; the others have their default values.
        """
        self._table, self._columns = table, columns
        self._composed: dict[str, _Composed] = {}

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, at least one."""
        name = connection.dialect.name
        composed = self._composed.get(name)
        if composed is None:
            composed = self._composed[name] = self._compose(connection.dialect)
        values = [composed.values(row) for row in rows]
        connection.exec_driver_sql(composed.text, values if len(values) > 1 else values[0])

    def _compose(self, dialect: Dialect) -> _Composed:
        compiled = insert(self._table).compile(dialect=dialect, column_keys=list(self._columns))
        order = compiled.positiontup or self._columns
        turns = {
            name: self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in order
        }
        return _Composed(str(compiled), tuple(turns.items()), bool(compiled.positional))
