"""Models that predict a word or a class at each place of a text."""

import keras

from kmmft.models.word_weights import mean_over_words
from kmmft.training import DistributedTraining
from kmmft.training.restored_compile import RestoredCompile


class WordTraining(RestoredCompile, DistributedTraining):
    """Mixin for a `keras.Model` of logits `(batch, length, classes)`.

    All words of the global batch count alike, and padding does not.

    Attributes:
        accuracy_name: Name of the default metric.
    """

    accuracy_name = "accuracy"

    def compile(self, optimizer="adamw", loss="auto", metrics="auto", **kwargs) -> None:
        """As `keras.Model.compile`, with cross-entropy and the share of right words.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: `"auto"`, or a Keras loss of integer words or tags and logits.
            metrics: `"auto"`, or Keras metrics of the same; padding does not count.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy(self.accuracy_name)]
        self.forget_graphs()
        super().compile(
            optimizer=optimizer, loss=loss, weighted_metrics=metrics, **kwargs
        )

    def get_compile_config(self) -> dict | None:
        config = super().get_compile_config()
        if config:
            config["metrics"] = config.pop("weighted_metrics", None)
        return config

    def step_batch(self, data):
        return mean_over_words(data)
