"""Groups of similar classes, as ``classes.csv`` in an image folder tells them. Loads no torch."""

import csv
import io

from supernet.photos.findings import Finding, Kind, shown
from supernet.photos.listing import UNREADABLE, File

HEADER = ["fine_id", "fine", "coarse_id", "coarse"]
MOST_BYTES = 2**20


Groups = tuple[tuple[int, ...], tuple[str, ...]]


def read_groups(table: File, classes: tuple[str, ...]) -> tuple[Groups, list[Finding]]:
    """Return the group of every class, numbered from 0 on, with the groups' names, and what is wrong with the table.

    If anything is, there are no groups.

    Args:
        table: has the header fine_id,fine,coarse_id,coarse and a line a class: numbers and names of class and group.
        classes: whose groups are asked for; the table may have more.
    """
    try:
        rows = _rows(table)
        group_of, name_of, faults = _group_of(rows)
    except (*UNREADABLE, csv.Error) as error:
        return ((), ()), [Finding(Kind.TABLE, table.name, str(error) or type(error).__name__)]
    faults += [f"class {shown(name)} is missing" for name in classes if name not in group_of]
    if faults:
        return ((), ()), [Finding(Kind.TABLE, table.name, fault) for fault in faults]
    used = sorted({group_of[name] for name in classes})
    return (tuple(used.index(group_of[name]) for name in classes), tuple(name_of[n] for n in used)), []


def _rows(table: File) -> list[list[str]]:
    if table.size_bytes > MOST_BYTES:
        raise ValueError("over 1 MB")
    try:
        text = table.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if not rows or [title.strip() for title in rows[0]] != HEADER:
        raise ValueError(f"the first line must be {','.join(HEADER)}")
    return rows[1:]


def _group_of(rows: list[list[str]]) -> tuple[dict[str, int], dict[int, str], list[str]]:
    """Return class -> number of its group, number -> name of a group, and the faults of single lines."""
    group_of: dict[str, int] = {}
    name_of: dict[int, str] = {}
    faults = []
    for number, row in enumerate(rows, start=2):
        if len(row) != len(HEADER):
            faults.append(f"line {number}: {len(row)} columns, {len(HEADER)} are needed")
            continue
        fine_id, fine, coarse_id, coarse = (cell.strip() for cell in row)
        if not all(text.isascii() and text.isdigit() and len(text) <= 9 for text in (fine_id, coarse_id)):
            faults.append(f"line {number}: fine_id and coarse_id must be whole numbers")
        elif group_of.setdefault(fine, int(coarse_id)) != int(coarse_id):
            faults.append(f"line {number}: class {shown(fine)} is in two groups")
        elif name_of.setdefault(int(coarse_id), coarse) != coarse:
            faults.append(f"line {number}: group {coarse_id} has two names")
    if len(set(name_of.values())) < len(name_of):
        faults.append("two groups have one name")
    return group_of, name_of, faults
