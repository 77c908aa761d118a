"""What a report shows beside its numbers: examples, tables, a confusion matrix."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Example:
    """One answered test example, for the report's pictures.

    Args:
        image: Encoded image, or pixels `(height, width)` or `(height, width, 1, 3 or
            4)` in [0, 255]. None where the example has no image.
        text: Question or caption.
        target: Right answer.
        prediction: The model's answer. None where nobody answered: the example is
            shown, and neither right nor wrong.
        confidence: Its probability in [0, 1], or None.
        id: The record's id.

    Example:
        >>> kmmft.evaluation.Example(None, "what colour?", "red", "teal", 0.6).correct
        False
    """

    image: np.ndarray | bytes | None
    text: str
    target: str
    prediction: str | None
    confidence: float | None = None
    id: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is an answer to be right or wrong."""
        return self.prediction is not None

    @property
    def correct(self) -> bool:
        """Whether the prediction is the target."""
        return self.prediction == self.target


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of results.

    A column whose values are all floats in [0, 1] is shown as percentages with bars.
    None is shown as a dash, other numbers as numbers, strings as they are.

    Args:
        title: Heading of the table.
        header: Column names.
        rows: Rows, each as long as the header.
        highlight: Number of the row to stress, such as this model among its floors.
        note: A sentence below the table.

    Raises:
        ValueError: If a row is not as long as the header.

    Example:
        >>> table = kmmft.evaluation.Table(
        ...     "Test accuracy",
        ...     ["Method", "Accuracy"],
        ...     [["Majority answer", 0.373], ["This model", 0.989]],
        ...     highlight=1,
        ... )
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    highlight: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"A row must have one value per column of {list(self.header)}. "
                    f"Received: {list(row)}. Give None where there is no value."
                )


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each other one.

    Args:
        matrix: Counts `(classes, classes)`: row = true class, column = predicted.
        class_names: Name of each class.

    Raises:
        ValueError: If the matrix is not square with one row per name.

    Example:
        >>> counts = kmmft.evaluation.confusion_matrix([0, 1], [0, 0], 2)
        >>> kmmft.evaluation.Confusion(counts, ["no", "yes"]).matrix.sum().item()
        2
    """

    matrix: np.ndarray
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        size = len(self.class_names)
        if np.shape(self.matrix) != (size, size):
            raise ValueError(
                "A confusion matrix must have one row and one column per class name. "
                f"Received: shape {np.shape(self.matrix)}, {size} names. Make it with "
                "kmmft.evaluation.confusion_matrix."
            )
