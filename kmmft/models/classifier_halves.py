"""A classifier in two halves: encoders, and what stands above them."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf


def head_layers(
    hidden_dims: Sequence[int],
    dropout_rate: float,
    num_outputs: int,
    policy: keras.DTypePolicy,
) -> list[keras.layers.Layer]:
    """The layers between fusion and logits, in their order.

    Args:
        hidden_dims: As in `FusionClassifier`.
        dropout_rate: As there.
        num_outputs: Number of logits.
        policy: Dtype policy of all but the last layer.

    Returns:
        Layers, not built.
    """
    layers = []
    for index, width in enumerate(hidden_dims):
        name = f"head_dropout_{index}"
        layers.append(keras.layers.Dropout(dropout_rate, dtype=policy, name=name))
        name = f"head_{index}"
        layers.append(
            keras.layers.Dense(width, activation="gelu", dtype=policy, name=name)
        )
    return [
        *layers,
        keras.layers.Dropout(dropout_rate, dtype=policy, name="output_dropout"),
        keras.layers.Dense(num_outputs, dtype="float32", name="logits"),
    ]


class ClassifierHalves:
    """Mixin for a model with `encoders`, `fusion` and `kmmft.models.RawInputs`."""

    def encode_modalities(
        self, inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, dict[str, tf.Tensor]]:
        """Runs the encoders only: the first half of the model.

        Args:
            inputs: The model's inputs.

        Returns:
            By modality, the encoder's output.
        """
        return {
            modality: encoder(self.select(modality, inputs), training=False)
            for modality, encoder in self.encoders.items()
        }

    def classify_features(
        self,
        features: Mapping[str, Mapping[str, tf.Tensor]],
        present: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Runs fusion and head only: the second half of the model.

        For many answers from features that are computed once. Called on `keras.Input`s
        it makes a model that trains what stands above frozen encoders.

        Args:
            features: What `encode_modalities` returns.
            present: With `missing_modalities`, bool `(batch,)` by modality.

        Returns:
            float32 tensor `(batch, num_outputs)`.
        """
        if self.fusion is None:
            (x,) = (feature["pooled"] for feature in features.values())
        else:
            x = self.fusion(features, present=present)
        for name in self._head_names:
            x = self.get_layer(name)(x)
        return x
