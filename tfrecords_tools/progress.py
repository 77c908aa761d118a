"""A progress bar on stderr, if a terminal is there to show it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows count, rate and time left until the block ends.

    Args:
        description: What is being done.
        total: Number of steps.

    Yields:
        Function that moves the bar one step on, or as many as it is given.
    """
    from rich import console, progress

    stderr = console.Console(stderr=True)
    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        _rate_column(),
        progress.TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal,
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda steps=1: bar.advance(task, steps)


def _rate_column() -> Any:
    from rich import progress, text

    class RateColumn(progress.ProgressColumn):
        def render(self, task: progress.Task) -> text.Text:
            rate = task.finished_speed or task.speed
            return text.Text("" if rate is None else f"{rate:,.0f}/s")

    return RateColumn()
