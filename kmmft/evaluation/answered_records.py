"""What answers of any kind have in common: they stand beside the answered records."""

from collections.abc import Mapping, Sequence

import numpy as np

from kmmft.evaluation.classification import classification_metrics


class AnsweredRecords:
    """Mixin for the answers to a split's records.

    It has `records`, arrays `(records,)` by feature, among them the int `label`, and
    `classes`, the answer to each, int array `(records,)`.
    """

    records: Mapping[str, np.ndarray]
    classes: np.ndarray

    def text(self, feature: str) -> list[str]:
        """A string feature of all records, decoded."""
        return [value.decode(errors="replace") for value in self.records[feature]]

    def metrics(
        self, class_names: Sequence[str], groups: str | None = None
    ) -> dict[str, float]:
        """Accuracy with its interval, and F1, as `classification_metrics` gives them.

        Args:
            class_names: Names of the classes.
            groups: Text feature by which to group the records as well, such as
                `question_type`. Records where it is empty are in no group.

        Returns:
            Flat dict.
        """
        return classification_metrics(
            self.records["label"],
            self.classes,
            class_names,
            groups=self.text(groups) if groups else None,
        )
