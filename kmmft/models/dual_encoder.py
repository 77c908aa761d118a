"""Two or more towers whose vectors meet in one space."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from kmmft.layers import LogitScale, ProjectionHead, UnitLength
from kmmft.losses import ContrastiveLoss
from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.models.encoding import Encoding
from kmmft.models.pretrained_towers import PretrainedTowers
from kmmft.models.raw_inputs import RawInputs
from kmmft.models.towers import (
    check_micro_batch_size,
    encoder_inputs,
    side_by_side,
)


@keras.saving.register_keras_serializable("kmmft")
class DualEncoder(
    Encoding, PretrainedTowers, ContrastiveTraining, RawInputs, keras.Model
):
    """Encodes each modality as a vector of length 1, comparable with the others.

    The model is a functional Keras model; its output holds the vectors only. What a
    batch is compared with lives in the train step, so that an exported model has no
    trace of it, and so that all replicas' examples are negatives (see
    `kmmft.models.ContrastiveTraining` for batches, groups and hard negatives).
    Inputs are named as in `FusionClassifier`. An encoder whose `trainable` is False
    is locked: it runs in inference mode, as in LiT; its head, if any, still trains.

    Args:
        encoders: Encoders by modality, two or more.
        projection_dim: Width of the common space: each encoder gets a linear
            `ProjectionHead` without bias, as in CLIP. `None` leaves the encoders'
            vectors as they are.
        projections: Layers from an encoder's pooled vector to the common space, by
            modality, in place of `projection_dim`'s, such as an MLP head. A modality
            that is not in it has none.
        logit_scale: First value of the learnt factor on the cosines, the inverse
            temperature.
        logit_bias: First value of a learnt summand, which SigLIP needs (-10); `None`
            for none.
        max_logit_scale: The factor never grows beyond.
        micro_batch_size: Examples that a replica computes at a time, with the
            gradients of the whole batch; must divide it. `None`: all at once.
        dtype: Dtype policy of the projections; default: Keras' own. Vectors and the
            loss are float32.

    Call arguments:
        inputs: dict of tensors, as `prepare_batch` gives them.

    Returns:
        dict of float32 tensors `(batch, dim)`, by modality.

    Raises:
        ValueError: If there are fewer than two encoders, two of one name, or their
            vectors are not equally wide.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue"]
        >>> model = kmmft.models.DualEncoder(
        ...     encoders={
        ...         "image": kmmft.encoders.ImageEncoder(backbone),
        ...         "text": kmmft.encoders.TextEncoder(
        ...             keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...             keras_hub.models.BertTokenizer(words, lowercase=True),
        ...             sequence_length=6,
        ...         ),
        ...     },
        ...     projection_dim=4,
        ... )
        >>> png = tf.io.encode_png(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        >>> classes = model.zero_shot_classifier(["red", "blue"])
        >>> model.similarity(model.encode_image([png]), classes).shape
        (1, 2)

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 3.
        - [Zhai et al., 2021](https://arxiv.org/abs/2111.07991) (locked towers).
    """

    def __init__(
        self,
        encoders: Mapping[str, keras.Model],
        projection_dim: int | None = None,
        projections: Mapping[str, keras.layers.Layer] | None = None,
        logit_scale: float = 1 / 0.07,
        logit_bias: float | None = None,
        max_logit_scale: float = 100.0,
        micro_batch_size: int | None = None,
        name: str = "dual_encoder",
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs,
    ):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        encoders = dict(encoders)
        _check(encoders, projection_dim, projections, micro_batch_size)
        if projection_dim is not None:
            projections = {
                modality: ProjectionHead(
                    projection_dim,
                    use_bias=False,
                    dtype=policy,
                    name=f"{modality}_projection",
                )
                for modality in encoders
            }
        projections = dict(projections or {})
        # === Functional model ===
        towers = {
            modality: _tower(modality, encoder, projections.get(modality))
            for modality, encoder in encoders.items()
        }
        inputs, outputs = side_by_side(encoders, towers)
        _check_widths(outputs)
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        # === Layers ===
        self.encoders = encoders
        self.projections = projections
        self.towers = towers
        self.logit_scale_layer = LogitScale(
            logit_scale, max_logit_scale, bias=logit_bias, name="logit_scale"
        )
        # === Config ===
        self.dtype_policy = policy
        self.initial_logit_scale = logit_scale
        self.initial_logit_bias = logit_bias
        self.max_logit_scale = max_logit_scale
        self.micro_batch_size = micro_batch_size
        self.missing_modalities = False
        self.loss_function = None

    @property
    def logit_bias(self) -> tf.Tensor | None:
        """float32 scalar, the summand on the scaled cosines, or `None`."""
        bias = self.logit_scale_layer.logit_bias
        return None if bias is None else tf.convert_to_tensor(bias)

    def check_loss(self, loss: ContrastiveLoss) -> None:
        super().check_loss(loss)
        if loss.needs_logit_bias and self.initial_logit_bias is None:
            raise ValueError(
                f"{type(loss).__name__} needs a learnt bias. Received: a model with "
                "logit_bias=None. Make the model with logit_bias=-10, logit_scale=10."
            )

    def call(self, inputs, training=None, mask=None, **kwargs):
        # Hard negatives and a teacher's vectors are for the loss.
        inputs = {key: inputs[key] for key in self.input}
        return super().call(inputs, training=training, mask=mask, **kwargs)

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            # Lists of pairs: dicts come back from JSON in another order.
            "encoders": [[key, serialize(x)] for key, x in self.encoders.items()],
            "projections": [[key, serialize(x)] for key, x in self.projections.items()],
            "logit_scale": self.initial_logit_scale,
            "logit_bias": self.initial_logit_bias,
            "max_logit_scale": self.max_logit_scale,
            "micro_batch_size": self.micro_batch_size,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        for key in ("encoders", "projections"):
            config[key] = {
                modality: deserialize(value, custom_objects)
                for modality, value in config[key]
            }
        return cls(**config)


def _tower(modality, encoder, projection) -> keras.Model:
    inputs = encoder_inputs(encoder)
    vectors = encoder(inputs)["pooled"]
    if projection is not None:
        vectors = projection(vectors)
    # float32 under every policy: half precision is too coarse for cosines.
    vectors = UnitLength(dtype="float32")(vectors)
    return keras.Model(inputs, vectors, name=f"{modality}_tower")


def _check(encoders, projection_dim, projections, micro_batch_size) -> None:
    if len(encoders) < 2:
        raise ValueError(
            "A DualEncoder needs two encoders or more. "
            f"Received: the modalities {list(encoders)}."
        )
    names = [encoder.name for encoder in encoders.values()]
    if len(set(names)) < len(names):
        raise ValueError(
            "Encoders must have different names, since Keras tells layers by them. "
            f"Received: {names}. Give one of them another `name=`."
        )
    if projections is not None and projection_dim is not None:
        raise ValueError(
            "Either `projection_dim` or `projections` can be given. Received: "
            f"projection_dim={projection_dim}, projections={projections}."
        )
    if not set(projections or {}) <= set(encoders):
        raise ValueError(
            f"`projections` must be for the modalities {list(encoders)}. "
            f"Received: projections for {list(projections)}."
        )
    check_micro_batch_size(micro_batch_size)


def _check_widths(outputs: Mapping[str, keras.KerasTensor]) -> None:
    widths = {modality: vector.shape[-1] for modality, vector in outputs.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            "All towers must end in equally wide vectors. "
            f"Received: {widths}. Set `projection_dim`."
        )
