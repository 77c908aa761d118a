"""How many examples of each data set a training has seen."""

import keras

from kmmft.data.dataset_mixture import DatasetMixture


class SourceCounts(keras.callbacks.Callback):
    """Logs, at the end of each epoch, the examples seen of each data set.

    They are counted from the first step on, resumed or not, and go to the history, to
    TensorBoard (`epoch_examples/<name>`) and to `history.csv`. Put it before other
    callbacks, which read the same logs; `resumable_fit` does.

    Args:
        mixture: What the training reads.
        steps_per_epoch: Steps in an epoch.

    Example:
        >>> examples = tf.data.Dataset.from_tensors((np.ones(3), 1.0))
        >>> mixture = kmmft.data.DatasetMixture(
        ...     {"web": examples.repeat(60), "books": examples.repeat(20)}, 8)
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> counts = kmmft.training.SourceCounts(mixture, steps_per_epoch=4)
        >>> history = model.fit(mixture.dataset(), epochs=2, steps_per_epoch=4,
        ...                     callbacks=[counts], verbose=0)
        >>> history.history["examples/web"]
        [24, 48]
    """

    def __init__(self, mixture: DatasetMixture, steps_per_epoch: int):
        super().__init__()
        self.mixture = mixture
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_end(self, epoch, logs=None):
        counts = self.mixture.counts((epoch + 1) * self.steps_per_epoch)
        if logs is not None:
            logs.update({f"examples/{name}": n for name, n in counts.items()})
