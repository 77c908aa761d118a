"""The distribution of labels that a model predicts, by its task."""

import keras
import tensorflow as tf

from kmmft.losses import TASKS

_TASK_OF_LOSS = {
    keras.losses.SparseCategoricalCrossentropy: "single_label",
    keras.losses.sparse_categorical_crossentropy: "single_label",
    keras.losses.CategoricalCrossentropy: "single_label",
    keras.losses.categorical_crossentropy: "single_label",
    keras.losses.BinaryCrossentropy: "multi_label",
    keras.losses.binary_crossentropy: "multi_label",
    keras.losses.MeanSquaredError: "regression",
    keras.losses.mean_squared_error: "regression",
}


class LabelLikelihood:
    """Independent labels of each example, as a model's output predicts them.

    Args:
        model: Model with one output: logits, unless the loss that it was compiled with
            takes probabilities; numbers for a regression.
        task: `"single_label"` (softmax), `"multi_label"` (a sigmoid for each output)
            or `"regression"` (normal, of variance 1); `None` to take `model.task`, or
            what belongs to the compiled loss.

    Raises:
        ValueError: If there is no such task.
    """

    def __init__(self, model: keras.Model, task: str | None = None):
        loss = getattr(model, "loss", None)
        loss = keras.losses.get(loss) if isinstance(loss, str) else loss
        kind = loss if callable(loss) and not isinstance(loss, keras.Loss) else None
        known = _TASK_OF_LOSS.get(kind or type(loss))
        self.task = task or getattr(model, "task", None) or known
        # A kmmft model gives logits; Keras' losses say what they take.
        self.from_logits = getattr(loss, "from_logits", kind is None)
        if self.task not in TASKS:
            raise ValueError(
                "Fisher information needs a likelihood of each example. Received: "
                f"task={task!r}, and a {type(model).__name__} compiled with the loss "
                f"{loss!r}. Set `task` to one of {TASKS}, or `log_likelihood`. For a "
                "contrastive loss there is none."
            )

    def draw(self, outputs: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Draws a label for each example.

        Args:
            outputs: float tensor `(batch, ..., num_outputs)`.
            key: int tensor `(2,)`, the seed.

        Returns:
            float32 tensor of the outputs' shape; of classes one is 1.
        """
        outputs, shape = tf.cast(outputs, tf.float32), tf.shape(outputs)
        if self.task == "regression":
            return outputs + tf.random.stateless_normal(shape, key)
        # Above 0, whose logarithm is no number.
        uniform = tf.random.stateless_uniform(shape, key, minval=1e-7)
        logits = self._logits(outputs)
        if self.task == "multi_label":
            return tf.cast(uniform < tf.sigmoid(logits), tf.float32)
        # The largest of logits with Gumbel noise is a draw from their softmax.
        best = tf.argmax(logits - tf.math.log(-tf.math.log(uniform)), axis=-1)
        return tf.one_hot(best, shape[-1])

    def log_likelihood(self, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Log-likelihood of labels, up to a constant.

        Args:
            y: Numbers of the outputs' shape; for one class an example also its id.
            outputs: float tensor `(batch, ..., num_outputs)`.

        Returns:
            float32 scalar, the sum over the batch.
        """
        outputs = tf.cast(outputs, tf.float32)
        if self.task == "regression":
            y = tf.reshape(tf.cast(y, tf.float32), tf.shape(outputs))
            return -tf.nn.l2_loss(y - outputs)
        logits = self._logits(outputs)
        if self.task == "multi_label":
            y = tf.reshape(tf.cast(y, tf.float32), tf.shape(logits))
            return -tf.reduce_sum(
                tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits)
            )
        if y.shape[1:] != logits.shape[1:]:
            ids = tf.reshape(tf.cast(y, tf.int32), tf.shape(logits)[:-1])
            y = tf.one_hot(ids, tf.shape(logits)[-1])
        return tf.reduce_sum(tf.cast(y, tf.float32) * tf.nn.log_softmax(logits))

    def _logits(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.from_logits:
            return outputs
        tiny = keras.config.epsilon()
        p = tf.clip_by_value(outputs, tiny, 1 - tiny)
        if self.task == "multi_label":
            return tf.math.log(p) - tf.math.log1p(-p)
        return tf.math.log(p)
