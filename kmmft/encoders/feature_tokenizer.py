"""From the columns of a table to tokens."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kmmft")
class FeatureTokenizer(keras.layers.Layer):
    """Makes one token of each column, and a class token before them.

    A number `x` becomes `b + (x - mean) / std * w`, a category `b + e[id]`, with `b`,
    `w` and `e` of the column's own. A value that is missing has a token of its own for
    each column, since that it is missing may tell something. A number that is not
    finite counts as missing.

    Args:
        dim: Width of the tokens.
        mean: Mean of each column with numbers.
        std: Standard deviation of each, above 0.
        vocabulary_sizes: Number of ids of each column with categories, those for a
            missing (0) and an unknown (1) category included.

    Call arguments:
        inputs: dict of `numbers` float `(batch, columns)` and `categories` int
            `(batch, columns)`, or of one of them.

    Returns:
        float tensor `(batch, 1 + columns, dim)`, numbers first, and bool tensor
        `(batch, columns)`, which values are there.

    Example:
        >>> tokenizer = kmmft.encoders.FeatureTokenizer(4, [10.0], [2.0], [3])
        >>> inputs = {"numbers": np.array([[np.nan]]), "categories": np.array([[2]])}
        >>> tokens, here = tokenizer(inputs)
        >>> tokens.shape, here.numpy().tolist()
        (TensorShape([1, 3, 4]), [[False, True]])

    References:
        - [Gorishniy et al., 2021](https://arxiv.org/abs/2106.11959), sec. 3.3; the
          tokens of missing values are ours.
    """

    def __init__(self, dim, mean=(), std=(), vocabulary_sizes=(), **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.mean = list(mean)
        self.std = list(std)
        self.vocabulary_sizes = list(vocabulary_sizes)

    def build(self, inputs_shape):
        number, dim = len(self.mean), self.dim
        columns = number + len(self.vocabulary_sizes)
        bound = dim**-0.5
        uniform = keras.initializers.RandomUniform

        def weight(name, rows):
            start = uniform(-bound, bound)
            return self.add_weight(shape=(rows, dim), initializer=start, name=name)

        self.class_token = weight("class_token", 1)
        self.bias = weight("bias", columns)
        self.missing = weight("missing", columns)
        if number:
            self.scale = weight("scale", number)
        if self.vocabulary_sizes:
            self.embeddings = weight("embeddings", sum(self.vocabulary_sizes))
            # The columns' embeddings stand in one table, one after another.
            sizes = [0, *self.vocabulary_sizes[:-1]]
            self.offsets = np.cumsum(sizes).astype("int32")

    def call(self, inputs):
        tokens, here = [], []
        if self.mean:
            # float32 even under a half precision policy: a year needs its digits.
            numbers = ops.cast(inputs["numbers"], "float32")
            finite = ops.isfinite(numbers)
            # Else the NaN would come back from behind `where` in the gradient.
            numbers = ops.where(finite, numbers, np.float32(self.mean))
            numbers = (numbers - np.float32(self.mean)) / np.float32(self.std)
            numbers = ops.cast(numbers, self.compute_dtype)
            tokens.append(ops.expand_dims(numbers, -1) * self.scale)
            here.append(finite)
        if self.vocabulary_sizes:
            ids = ops.cast(inputs["categories"], "int32")
            tokens.append(ops.take(self.embeddings, ids + self.offsets, axis=0))
            here.append(ids > 0)
        tokens = ops.concatenate(tokens, axis=1) + self.bias
        here = ops.concatenate(here, axis=1)
        tokens = ops.where(ops.expand_dims(here, -1), tokens, self.missing)
        shape = (ops.shape(tokens)[0], 1, self.dim)
        class_token = ops.broadcast_to(ops.expand_dims(self.class_token, 0), shape)
        return ops.concatenate([class_token, tokens], axis=1), here

    def compute_output_shape(self, inputs_shape):
        batch = next(iter(inputs_shape.values()))[0]
        columns = len(self.mean) + len(self.vocabulary_sizes)
        return (batch, 1 + columns, self.dim), (batch, columns)

    def compute_output_spec(self, inputs):
        shapes = {name: value.shape for name, value in inputs.items()}
        tokens, here = self.compute_output_shape(shapes)
        return (
            keras.KerasTensor(tokens, dtype=self.compute_dtype),
            keras.KerasTensor(here, dtype="bool"),
        )

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "dim": self.dim,
            "mean": self.mean,
            "std": self.std,
            "vocabulary_sizes": self.vocabulary_sizes,
        }
