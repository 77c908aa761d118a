"""Captions' metrics of a whole split after each epoch."""

from kmmft.data import RecordSource
from kmmft.evaluation.epoch_evaluator import EpochEvaluator
from kmmft.evaluation.written_texts import write_about_records
from kmmft.metrics import caption_metrics


class CaptionEvaluator(EpochEvaluator):
    """Writes about a split, and puts the captions' metrics into the logs.

    Cross-entropy says how well a model continues people's captions; this, how good its
    own are.

    Args:
        source: Where the records are.
        split: Name of the split.
        references: Feature with people's texts, a list.
        every_epochs: As in `EpochEvaluator`.
        prefix: As in `EpochEvaluator`.
        max_bad_fraction: Largest fraction of records that may be bad.

    Example::

        evaluator = kmmft.evaluation.CaptionEvaluator(source, "validation")
        model.fit(train, callbacks=[evaluator])  # logs val_cider_d and others
    """

    def __init__(
        self,
        source: RecordSource,
        split: str,
        *,
        references: str = "captions",
        every_epochs: int = 1,
        prefix: str = "val_",
        max_bad_fraction: float = 1e-3,
    ):
        super().__init__(every_epochs, prefix)
        self.source = source
        self.split = split
        self.references = references
        self.max_bad_fraction = max_bad_fraction

    def evaluate(self, model) -> dict[str, float]:
        written = write_about_records(
            model,
            self.source,
            self.split,
            self.references,
            max_bad_fraction=self.max_bad_fraction,
        )
        return written.metrics()

    def metric_names(self) -> list[str]:
        return [*caption_metrics(["a", "b"], [["a"], ["b"]])]
