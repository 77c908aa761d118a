"""Numbers and categories of a table's row as an encoder with the common contract."""

import collections
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.encoders.feature_tokenizer import FeatureTokenizer
from kmmft.encoders.frozen_layers import FrozenInference, freeze_as_configured
from kmmft.layers.attention_block import AttentionBlock


@keras.saving.register_keras_serializable("kmmft")
class TabularEncoder(FrozenInference, keras.Model):
    """Encodes a row of numbers and categories as a vector and a token for each column.

    The FT-Transformer: each column becomes a token, and a small transformer with a
    class token reads them. Numbers are brought to mean 0 and deviation 1 inside, so
    that an exported model takes them as they are. A missing value (NaN, the empty
    string) has a token of its own; a category that was not known is `unknown`. A row
    without any value has a mask that is False everywhere, by which fusion layers know
    that the modality is absent. `from_table` finds what is to be known of the columns.

    Args:
        numbers: Mean and standard deviation of each column with numbers, by its name.
        categories: The known categories of each column with categories.
        hidden_dim: Width of the tokens and of the pooled vector.
        num_layers: Number of pre-norm transformer blocks.
        num_heads: Number of attention heads. Must divide `hidden_dim`.
        dropout_rate: Dropout inside the blocks.

    Call arguments:
        inputs: dict of `numbers` float `(batch, columns)` and `categories` int
            `(batch, columns)`, or of one of them, as `preprocess` makes it.

    Returns:
        dict of `pooled` float `(batch, hidden_dim)`, `tokens` float `(batch, columns,
        hidden_dim)`, numbers first, and `mask` bool `(batch, columns)`.

    Raises:
        ValueError: If there is no column, a name comes twice, or a deviation is not
            above 0.

    Example:
        >>> encoder = kmmft.encoders.TabularEncoder(
        ...     {"age": (50.0, 20.0)}, {"site": ["arm", "leg"]}, 8, 1, 2)
        >>> row = {"age": tf.constant([61.0]), "site": tf.constant(["leg"])}
        >>> inputs = encoder.preprocess(row)
        >>> inputs["categories"].numpy().tolist()
        [[3]]
        >>> encoder(inputs)["tokens"].shape
        TensorShape([1, 2, 8])

    References:
        - [Gorishniy et al., 2021](https://arxiv.org/abs/2106.11959), sec. 3.3
          (FT-Transformer); the blocks have GELU in place of ReGLU.
    """

    def __init__(
        self,
        numbers: Mapping[str, tuple[float, float]] | Sequence = (),
        categories: Mapping[str, Sequence[str]] | Sequence = (),
        hidden_dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout_rate: float = 0.1,
        name: str = "tabular_encoder",
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs,
    ):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        numbers = {name: (float(m), float(s)) for name, (m, s) in _pairs(numbers)}
        categories = {name: list(known) for name, known in _pairs(categories)}
        _check(numbers, categories, num_layers)
        # === Functional model ===
        inputs = {}
        if numbers:
            inputs["numbers"] = keras.Input((len(numbers),), name="numbers")
        if categories:
            inputs["categories"] = keras.Input(
                (len(categories),), dtype="int32", name="categories"
            )
        x, here = FeatureTokenizer(
            hidden_dim,
            mean=[mean for mean, _ in numbers.values()],
            std=[std for _, std in numbers.values()],
            vocabulary_sizes=[len(known) + 2 for known in categories.values()],
            dtype=policy,
            name="feature_tokenizer",
        )(inputs)
        for index in range(num_layers):
            x = AttentionBlock(
                num_heads, dropout_rate, dtype=policy, name=f"block_{index}"
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="norm")(x)
        any_value = ops.any(here, axis=1, keepdims=True)
        outputs = {
            "pooled": x[:, 0],
            "tokens": x[:, 1:],
            "mask": ops.logical_or(here, any_value),
        }
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        # === Config ===
        self.dtype_policy = policy
        self.numbers = numbers
        self.categories = categories
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.output_dim = hidden_dim
        # Ids: 0 for missing, 1 for unknown, then the known ones.
        self.lookups = {
            column: keras.layers.StringLookup(vocabulary=known, mask_token="")
            for column, known in categories.items()
        }

    @classmethod
    def from_table(
        cls,
        numbers: Mapping[str, Sequence[float]] | None = None,
        categories: Mapping[str, Sequence[str]] | None = None,
        max_categories: int = 1000,
        **kwargs,
    ) -> "TabularEncoder":
        """For the columns of a table, whose statistics it finds.

        Args:
            numbers: Values by column, of the training data. NaN is missing.
            categories: Likewise, strings. The empty one is missing.
            max_categories: How many of a column's most frequent categories are known;
                the others are alike.
            **kwargs: Further arguments of `TabularEncoder`.

        Raises:
            ValueError: If a column has no value at all, or infinite ones.

        Example:
            >>> encoder = kmmft.encoders.TabularEncoder.from_table(
            ...     {"age": [40.0, float("nan"), 60.0]}, {"site": ["arm", "", "leg"]})
            >>> encoder.numbers, encoder.categories
            ({'age': (50.0, 10.0)}, {'site': ['arm', 'leg']})
        """
        found = {
            name: _statistics(name, values) for name, values in (numbers or {}).items()
        }
        known = {}
        for name, values in (categories or {}).items():
            counts = collections.Counter(_strings(values))
            del counts[""]
            if not counts:
                raise ValueError(_no_value(name))
            # By name where they are as frequent: the same data, the same ids.
            frequent = sorted(counts, key=lambda one: (-counts[one], one))
            known[name] = sorted(frequent[:max_categories])
        return cls(found, known, **kwargs)

    @property
    def columns(self) -> dict[str, tf.DType]:
        """The raw columns with their types: what `preprocess` takes."""
        return dict.fromkeys(self.numbers, tf.float32) | dict.fromkeys(
            self.categories, tf.string
        )

    def preprocess(self, columns: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes inputs of raw columns. Works in `tf.data` and in exported graphs.

        Args:
            columns: `(batch,)` by name: numbers, where NaN is missing, and strings,
                where the empty one is missing.

        Returns:
            dict of `numbers` float32 `(batch, columns)` and `categories` int32
            `(batch, columns)`, or of one of them.
        """
        inputs = {}
        if self.numbers:
            cells = [tf.cast(columns[name], tf.float32) for name in self.numbers]
            inputs["numbers"] = tf.stack(cells, axis=-1)
        if self.categories:
            ids = [lookup(columns[name]) for name, lookup in self.lookups.items()]
            inputs["categories"] = tf.cast(tf.stack(ids, axis=-1), tf.int32)
        return inputs

    def has_value(self, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Which raw rows have any value, bool `(batch,)`."""
        numbers = [tf.cast(columns[name], tf.float32) for name in self.numbers]
        here = [tf.math.is_finite(values) for values in numbers]
        here += [tf.strings.length(columns[name]) > 0 for name in self.categories]
        return tf.reduce_any(tf.stack(here), axis=0)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            # Lists of pairs: dicts come back from JSON in another order.
            "numbers": [[name, list(pair)] for name, pair in self.numbers.items()],
            "categories": [[name, list(k)] for name, k in self.categories.items()],
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        return freeze_as_configured(cls(**config))


def _pairs(columns: Mapping | Sequence) -> list:
    return list(columns.items() if isinstance(columns, Mapping) else columns)


def _statistics(name: str, values: Sequence[float]) -> tuple[float, float]:
    values = np.asarray(values, np.float64)
    if np.isinf(values).any():
        raise ValueError(
            f"The numbers of a column must be finite or NaN. Received: {name!r} with "
            "an infinite one. Take it out, or put NaN for it."
        )
    values = values[~np.isnan(values)]
    if not values.size:
        raise ValueError(_no_value(name))
    # A column that never changes tells nothing; its deviation is a rounding error.
    is_constant = values.min() == values.max()
    return float(values.mean()), 1.0 if is_constant else float(values.std())


def _strings(values: Sequence[str | bytes]) -> list[str]:
    wrong = [one for one in values if not isinstance(one, str | bytes)]
    if wrong:
        raise ValueError(
            "Categories must be texts; an empty one is missing. Received: "
            f"{wrong[0]!r}. Give '' for a missing one, and str(...) of numbers."
        )
    return [one.decode() if isinstance(one, bytes) else one for one in values]


def _no_value(name: str) -> str:
    return (
        f"A column must have a value. Received: {name!r}, in which all are missing. "
        "Leave it out."
    )


def _check(numbers: dict, categories: dict, num_layers: int) -> None:
    names = [*numbers, *categories]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            "A TabularEncoder needs columns of different names, one at least. "
            f"Received: numbers={list(numbers)}, categories={list(categories)}. Rename "
            "or add one."
        )
    bad = [name for name, (_, std) in numbers.items() if not std > 0]
    if bad:
        raise ValueError(
            "The standard deviation of a column must be above 0. Received: "
            f"{numbers[bad[0]]} for {bad[0]!r}. Give 1 where values never change."
        )
    if num_layers < 1:
        raise ValueError(
            "`num_layers` must be positive, so that the class token sees the columns. "
            f"Received: num_layers={num_layers}."
        )
