"""What the commands print goes through here, and through nothing else.

Much of it was said by clients, access nodes and RADIUS servers: a hostname, a circuit-id, a Reply-Message. So none is
read as markup or emoji, and nothing that a terminal would obey, or cannot show, reaches it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from wayleave.net.printable import printable

program = "bng"
"""Which command speaks."""


def say(words: str = "") -> None:
    """Print a line."""
    _line(words, sys.stdout)


def aside(words: str) -> None:
    """Print a line on standard error; a table or JSON stays clean."""
    _line(words, sys.stderr)


def remark(words: str) -> None:
    """Say something beside what was asked for."""
    aside(f"{program}: {words}")


def refuse(words: str) -> None:
    """Say why the answer is no, perhaps in several lines."""
    first, *rest = words.split("\n")
    remark(first)
    for line in rest:
        aside(line)


def document(value: Any, indent: int | None) -> None:
    """Print JSON: exact, with all that is not ASCII escaped."""
    print(json.dumps(value, indent=indent).replace("\x7f", r"\u007f"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], spare: Sequence[str] = ()) -> None:
    """Print a table. Where it is too wide, the columns that can be spared are left out, and said so."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 250, markup=False, emoji=False, highlight=False)
    cells = [["-" if cell is None else _plain(str(cell), sys.stdout) for cell in row] for row in rows]
    shown = fitting(columns, cells, spare, console.width)
    drawn = Table(box=box.SIMPLE_HEAD, show_header=any(columns), show_edge=False, pad_edge=False)
    drawn.padding = (0, _GAP - 1, 0, 0)
    for number in shown:
        drawn.add_column(columns[number], overflow="fold")
    for row in cells:
        drawn.add_row(*(row[number] for number in shown))
    with console.capture() as lines:  # a console's own way to end with a broken pipe is not ours
        console.print(drawn)
    sys.stdout.write(lines.get())
    left_out = [name for number, name in enumerate(columns) if number not in shown]
    if left_out:
        remark(f"too narrow for {', '.join(left_out)}: they are in a wider window, or with --json")


def all_written() -> None:
    """Write what waits to be. Raises: BrokenPipeError."""
    print(end="", flush=True)


def nobody_reads() -> None:
    """Whoever read has seen enough: what is still to be printed goes nowhere, and Python does not complain of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int) -> list[int]:
    """Return the numbers of the columns that fit; of `spare` the first are left out first."""
    need = [max(map(len, (name, *(row[number] for row in rows)))) for number, name in enumerate(columns)]
    shown = [*range(len(columns))]
    for name in spare:
        if sum(need[number] + _GAP for number in shown) - _GAP <= width:
            break
        shown.remove(columns.index(name))
    return shown


_GAP = 2
"""Between two columns of a table."""


def _line(words: str, out: TextIO) -> None:
    print(_plain(words, out), file=out)


def _plain(words: str, out: TextIO) -> str:
    """Write out what is not printable, and what `out` has no octets for."""
    encoding = out.encoding or "utf-8"
    return printable(words).encode(encoding, "backslashreplace").decode(encoding)
