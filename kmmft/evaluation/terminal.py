"""Result tables in the terminal."""

import rich.console
import rich.measure
import rich.table
import rich.text

from kmmft.evaluation.report_parts import Table
from kmmft.evaluation.report_text import percent

ANY_WIDTH = 10_000


def print_line(text: str) -> None:
    """Prints a line as it is; for command lines.

    Args:
        text: The line.

    Example:
        >>> kmmft.evaluation.print_line("report: [runs/a]")
        report: [runs/a]
    """
    rich.console.Console(soft_wrap=True).print(text, markup=False, highlight=False)


def print_table(table: Table) -> None:
    """Prints a result table and its note; for command lines.

    Nothing is cut off: a narrow terminal folds long cells, a file has any width.

    Args:
        table: Floats in [0, 1] are shown as percentages, None as a dash.

    Example:
        >>> table = kmmft.evaluation.Table("Test", ["model", "right"], [["ours", 0.98]])
        >>> kmmft.evaluation.print_table(table)
        Test
        ...
    """
    # As `Text`, because rich reads brackets in strings as markup.
    title = rich.text.Text(table.title)
    shown = rich.table.Table(title=title, title_justify="left")
    for column in table.header:
        side = "left" if column == table.header[0] else "right"
        shown.add_column(rich.text.Text(column), justify=side, overflow="fold")
    for row in table.rows:
        shown.add_row(*(rich.text.Text(_cell(value)) for value in row))
    console = rich.console.Console()
    if not console.is_terminal:
        wide = console.options.update(width=ANY_WIDTH)
        needed = rich.measure.Measurement.get(console, wide, shown).maximum
        console = rich.console.Console(width=max(console.width, needed))
    console.print(shown)
    if table.note:
        print_line(table.note)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return percent(value) if 0 <= value <= 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
