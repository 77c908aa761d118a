"""Projection head: an encoder's vector into the space that a loss compares in."""

from collections.abc import Sequence

import keras

from kmmft.layers.unit_length import UnitLength


@keras.saving.register_keras_serializable("kmmft")
class ProjectionHead(keras.layers.Layer):
    """Projects vectors by one linear map or by a small MLP.

    A linear head (no `hidden_dims`) is what CLIP uses; an MLP helps when the
    encoder stays frozen. With `normalize`, outputs have length 1; a zero vector
    stays zero. The length is computed in float32 under every dtype policy.

    Args:
        output_dim: Width of the output.
        hidden_dims: Widths of the hidden layers; empty for a linear head.
        activation: Activation of the hidden layers.
        dropout_rate: Dropout after each hidden layer.
        input_dropout_rate: Dropout of the input: the best guard against overfitting
            where there are few pairs.
        use_bias: Whether the last layer has a bias.
        normalize: Whether to divide each output by its L2 norm.

    Call arguments:
        inputs: float tensor `(..., dim)`.

    Returns:
        float tensor `(..., output_dim)`.

    Raises:
        ValueError: If a width is not positive.

    Example:
        >>> head = kmmft.layers.ProjectionHead(4, hidden_dims=(8,), normalize=True)
        >>> bool(np.allclose(np.linalg.norm(head(np.ones((2, 3))), axis=-1), 1.0))
        True

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 3.
        - [Chen et al., 2020](https://arxiv.org/abs/2002.05709), section 4.2 (MLP).
    """

    def __init__(
        self,
        output_dim: int,
        hidden_dims: Sequence[int] = (),
        activation: str = "gelu",
        dropout_rate: float = 0.0,
        use_bias: bool = True,
        normalize: bool = False,
        input_dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if min((output_dim, *hidden_dims)) < 1:
            raise ValueError(
                "`output_dim` and every entry of `hidden_dims` must be positive. "
                f"Received: output_dim={output_dim}, hidden_dims={hidden_dims}"
            )
        self.output_dim = output_dim
        self.hidden_dims = tuple(hidden_dims)
        self.activation = keras.activations.get(activation)
        self.dropout_rate = dropout_rate
        self.use_bias = use_bias
        self.normalize = normalize
        self.input_dropout_rate = input_dropout_rate

    def build(self, inputs_shape):
        # === Layers ===
        policy = self.dtype_policy
        self.hidden = []
        shape = tuple(inputs_shape)
        for dim in self.hidden_dims:
            dense = keras.layers.Dense(dim, self.activation, dtype=policy)
            dense.build(shape)
            self.hidden.append(dense)
            shape = (*shape[:-1], dim)
        self.input_dropout = keras.layers.Dropout(self.input_dropout_rate, dtype=policy)
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        self.output_projection = keras.layers.Dense(
            self.output_dim,
            use_bias=self.use_bias,
            dtype=policy,
            name="output_projection",
        )
        self.output_projection.build(shape)
        self.unit_length = UnitLength(dtype=policy)

    def call(self, inputs, training=None):
        x = self.input_dropout(inputs, training=training)
        for dense in self.hidden:
            x = self.dropout(dense(x), training=training)
        x = self.output_projection(x)
        return self.unit_length(x) if self.normalize else x

    def compute_output_shape(self, inputs_shape) -> tuple:
        return (*inputs_shape[:-1], self.output_dim)

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "hidden_dims": self.hidden_dims,
            "activation": keras.activations.serialize(self.activation),
            "dropout_rate": self.dropout_rate,
            "use_bias": self.use_bias,
            "normalize": self.normalize,
            "input_dropout_rate": self.input_dropout_rate,
        }
