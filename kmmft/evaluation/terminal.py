"""Result tables in the terminal."""

import rich.console
import rich.table
import rich.text

from kmmft.evaluation.report_parts import Table
from kmmft.evaluation.report_text import percent


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
    """Prints a result table; for command lines.

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
        left = column == table.header[0]
        shown.add_column(rich.text.Text(column), justify="left" if left else "right")
    for row in table.rows:
        shown.add_row(*(rich.text.Text(_cell(value)) for value in row))
    rich.console.Console().print(shown)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return percent(value) if 0 <= value <= 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
