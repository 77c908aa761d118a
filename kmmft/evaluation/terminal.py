"""Result tables in the terminal."""

import rich.console
import rich.table

from kmmft.evaluation.report_parts import Table


def print_table(table: Table) -> None:
    """Prints a result table; for command lines.

    Args:
        table: Floats in [0, 1] are shown as percentages, None as a dash.

    Example:
        >>> kmmft.evaluation.print_table(
        ...     kmmft.evaluation.Table("Test", ["model", "accuracy"], [["ours", 0.9979]])
        ... )  # doctest: +SKIP
    """
    shown = rich.table.Table(title=table.title, title_justify="left")
    for column in table.header:
        left = column == table.header[0]
        shown.add_column(column, justify="left" if left else "right")
    for row in table.rows:
        shown.add_row(*(_cell(value) for value in row))
    rich.console.Console().print(shown)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2%}" if 0 <= value <= 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
