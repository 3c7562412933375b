"""Tables on a terminal, as CSV and as Markdown."""

import csv
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from alexnet_keras.cli.terminal import encodable, result

SHORTEST = 8  # characters that are kept of a name
PIPE_WIDTH = 160  # characters of a line where stdout is no terminal
BETWEEN = 3  # characters between two columns, and around a table


def table(
    title: str,
    columns: list[str],
    rows: Sequence[Sequence[Any]],
    left: int = 1,
    form: str | None = None,
    optional: Collection[str] = (),
    one_line: bool = False,
) -> None:
    """Print a table on stdout.

    On a narrow terminal the optional columns are left out, the last of them first; then text continues in the next line
    and names are shortened. Numbers stay whole.

    Args:
        title: The title, which CSV and Markdown leave out.
        columns: The names of the columns.
        rows: The cells of each row, as many as columns.
        left: The number of left-aligned columns, of text; the others are numbers, right-aligned.
        form: None for a terminal, `"csv"` or `"markdown"`.
        optional: The names of columns that can be left out.
        one_line: Leave out optional columns, and shorten text, rather than continue a row in a second line.
    """
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
        return
    if form == "markdown":
        marks = ["---" if index < left else "---:" for index in range(len(columns))]
        for row in (columns, marks, *rows):
            cells = (" ".join(str(value).split()).replace("|", "\\|") for value in row)
            result(f"| {' | '.join(cells)} |", fit=False)
        return
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    literal: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}  # a class may be called "[b]:cat:"
    console = Console(**literal)
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH, **literal)
    cells = [[encodable(str(value)) for value in row] for row in rows]
    room, heads = console.width - 1, [encodable(head) for head in columns]
    if sum(max(map(cell_len, column)) + BETWEEN for column in zip(heads, *cells, strict=True)) > room:
        heads = [head if index < left else _narrow(head, cells, index) for index, head in enumerate(heads)]
    shown, widths = _layout(room, columns, heads, cells, left, optional, one_line)
    made = Table(title=encodable(title), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index in shown:
        justify: Any = "left" if index < left else "right"
        made.add_column(heads[index], width=widths[index], justify=justify, no_wrap=one_line, overflow="ellipsis")
    for row in cells:
        made.add_row(*[row[index] for index in shown])
    console.print(made)
    if hidden := [name for index, name in enumerate(columns) if index not in shown]:
        wider = " A wider window has room for more." if console.is_terminal else ""
        result(f"Not shown at this width: {', '.join(hidden)}.{wider}\n")


def _layout(
    room: int,
    columns: Sequence[str],
    heads: Sequence[str],
    cells: Sequence[Sequence[str]],
    left: int,
    optional: Collection[str],
    one_line: bool,
) -> tuple[list[int], list[int]]:
    """The columns that are shown in a room of so many characters, and the width of every column."""
    from rich.cells import cell_len

    texts = [[*heads[index].split("\n"), *(row[index] for row in cells)] for index in range(len(columns))]
    whole = [max(map(cell_len, column)) for column in texts]
    words = [max(cell_len(word) for text in column for word in text.split() or [""]) for column in texts]
    least = [words[index] if index < left and not one_line else whole[index] for index in range(len(columns))]
    shown = list(range(len(columns)))
    for name in reversed(list(optional)):
        if sum(least[index] + BETWEEN for index in shown) > room:
            shown.remove(columns.index(name))
    widths, spare = list(least), room - sum(least[index] + BETWEEN for index in shown)
    while spare > 0 and (narrow := [index for index in shown if widths[index] < whole[index]]):
        widths[min(narrow, key=lambda index: widths[index])] += 1
        spare -= 1
    if spare < 0 and left:  # the widest text is shortened
        widest = max((index for index in shown if index < left), key=lambda index: widths[index])
        widths[widest] = max(SHORTEST, widths[widest] + spare)
    return shown, widths


def _narrow(head: str, cells: Sequence[Sequence[str]], index: int) -> str:
    """The head of a column in lines that are no wider than its cells, or its longest word."""
    widest = max([1, *map(len, head.split()), *(len(row[index]) for row in cells)])  # of numbers, which are narrow
    return "\n".join(textwrap.wrap(head, widest, break_long_words=False))
