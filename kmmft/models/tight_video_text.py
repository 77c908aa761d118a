"""Videos and texts that are scored by looking at both together."""

from collections.abc import Mapping

import keras
import tensorflow as tf
from keras import ops

from kmmft.encoders import TextEncoder, VideoEncoder
from kmmft.layers import LogitScale, ProjectionHead, TightSimilarity, UnitLength
from kmmft.losses import ContrastiveLoss, Embeddings
from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.models.pair_scoring import PairScoring
from kmmft.models.raw_inputs import RawInputs
from kmmft.models.towers import (
    check_micro_batch_size,
    encoder_inputs,
    side_by_side,
)
from kmmft.training.collectives import all_gather
from kmmft.training.global_batch import gather_embeddings, own_numbers


@keras.saving.register_keras_serializable("kmmft")
class TightVideoText(PairScoring, ContrastiveTraining, RawInputs, keras.Model):
    """Scores each text with each video by a transformer over text and frames.

    The tight type of CLIP4Clip. Unlike the cosine of `kmmft.models.DualEncoder`, a
    score can weigh the frames by what the text speaks of. It costs a pass of the
    transformer for each pair, and needs more data. So it is for small collections,
    and to put the best finds of a dual encoder in order.

    The towers give a vector for the text and one for each frame; a row of zeros is a
    frame that is not there. Batches are those of `ContrastiveTraining`, without hard
    negatives. Each text is scored with the videos of all replicas, and the other way
    round. `micro_batch_size` saves memory in the towers but not in the scores;
    `kmmft.training.rematerialise` saves it in both.

    Args:
        video_encoder: Its frames' vectors, `tokens`, are used.
        text_encoder: Its pooled vector is used.
        projection_dim: Width of the scoring transformer: both encoders get a linear
            `ProjectionHead`. `None` leaves the encoders' vectors as they are.
        num_layers: Blocks of the scoring transformer.
        num_heads: Its attention heads, as in `kmmft.layers.TightSimilarity`.
        logit_scale: First value of the learnt factor on the scores. These are logits
            already, unlike cosines, and have a learnt summand.
        micro_batch_size: Examples that a replica encodes at a time; must divide its
            batch. `None`: all at once.
        dtype: Dtype policy of projections and scoring transformer; default: Keras'
            own. Scores and the loss are float32.

    Call arguments:
        inputs: dict of tensors, as `prepare_batch` gives them.

    Returns:
        dict of float32 tensors: `video` `(batch, num_frames, dim)` and `text`
        `(batch, dim)`, of length 1. `similarity` and `scores` compare them.

    Raises:
        ValueError: If the encoders are of other kinds, or their vectors are not
            equally wide.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue"]
        >>> model = kmmft.models.TightVideoText(
        ...     kmmft.encoders.VideoEncoder(
        ...         kmmft.encoders.ImageEncoder(backbone), num_frames=4),
        ...     kmmft.encoders.TextEncoder(
        ...         keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...         keras_hub.models.BertTokenizer(words, lowercase=True),
        ...         sequence_length=6),
        ...     projection_dim=8, num_layers=1, num_heads=2)
        >>> png = tf.io.encode_png(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        >>> model.scores(["red", "blue"], [[png, png], [png]]).shape
        (2, 2)

    References:
        - [Luo et al., 2021](https://arxiv.org/abs/2104.08860), section 3.3 (tight
          type).
    """

    def __init__(
        self,
        video_encoder: VideoEncoder,
        text_encoder: TextEncoder,
        projection_dim: int | None = None,
        num_layers: int = 4,
        num_heads: int | None = None,
        logit_scale: float = 1.0,
        micro_batch_size: int | None = None,
        name: str = "tight_video_text",
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs,
    ):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        _check(video_encoder, text_encoder, micro_batch_size)
        encoders = {"video": video_encoder, "text": text_encoder}
        # === Functional model ===
        towers = {
            modality: _tower(modality, encoder, projection_dim, policy)
            for modality, encoder in encoders.items()
        }
        inputs, outputs = side_by_side(encoders, towers)
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        # === Layers ===
        self.encoders = encoders
        self.towers = towers
        self.scorer = TightSimilarity(
            num_layers, num_heads, dtype=policy, name="tight_similarity"
        )
        self.scorer.build(outputs["text"].shape, outputs["video"].shape)
        self.logit_scale_layer = LogitScale(logit_scale, name="logit_scale")
        # === Config ===
        self.dtype_policy = policy
        self.projection_dim = projection_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.initial_logit_scale = logit_scale
        self.micro_batch_size = micro_batch_size
        self.missing_modalities = False
        self.loss_function = None

    def check_loss(self, loss: ContrastiveLoss) -> None:
        if (
            not isinstance(loss, ContrastiveLoss)
            or loss.joint
            or type(loss).directed is not ContrastiveLoss.directed
        ):
            raise ValueError(
                "`loss` must be a contrastive loss of a text's scores with videos, "
                "such as kmmft.losses.InfoNCE(); not one that compares vectors. "
                f"Received: loss={loss!r}."
            )

    def _own_loss(self, vectors: Mapping, inputs: Mapping, group) -> tf.Tensor:
        if set(vectors) != set(self.towers):
            raise ValueError(
                "TightVideoText takes no explicit hard negatives. Received: "
                f"{sorted(set(vectors) - set(self.towers))}. Leave them out of the "
                "batch."
            )
        index, pairs = own_numbers(tf.shape(vectors["text"])[0])
        group = index if group is None else tf.reshape(tf.cast(group, tf.int64), [-1])
        own = Embeddings(vectors["video"], group, index)
        everyone = gather_embeddings({"video": own}, {})["video"]
        by_text = self._score(vectors["text"], everyone.vectors)
        # Scores cost far more than vectors: each is computed on one replica only.
        by_video = tf.transpose(tf.gather(all_gather(by_text), index, axis=1))
        loss = self.loss_function
        positive, valid = loss._masks(own, everyone)
        options = {
            "logit_scale": self.logit_scale,
            "logit_bias": tf.zeros(()),
            "step": tf.convert_to_tensor(self.optimizer.iterations),
        }
        losses = [
            loss.rows(scores, positive, valid, **options)
            for scores in (by_text, by_video)
        ]
        return tf.reduce_sum(losses) / 2 / tf.cast(pairs, tf.float32)

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "video_encoder": serialize(self.encoders["video"]),
            "text_encoder": serialize(self.encoders["text"]),
            "projection_dim": self.projection_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "logit_scale": self.initial_logit_scale,
            "micro_batch_size": self.micro_batch_size,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        for key in ("video_encoder", "text_encoder"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects
            )
        return cls(**config)


def _tower(modality, encoder, projection_dim, policy) -> keras.Model:
    inputs = encoder_inputs(encoder)
    outputs = encoder(inputs)
    vectors = outputs["tokens" if modality == "video" else "pooled"]
    if projection_dim is not None:
        vectors = ProjectionHead(
            projection_dim,
            use_bias=False,
            dtype=policy,
            name=f"{modality}_projection",
        )(vectors)
    vectors = UnitLength(dtype="float32")(vectors)
    if modality == "video":
        vectors = ops.where(outputs["mask"][..., None], vectors, 0.0)
    return keras.Model(inputs, vectors, name=f"{modality}_tower")


def _check(video_encoder, text_encoder, micro_batch_size) -> None:
    if not isinstance(video_encoder, VideoEncoder):
        raise ValueError(
            "`video_encoder` must be a kmmft.encoders.VideoEncoder. "
            f"Received: {video_encoder!r}."
        )
    if not isinstance(text_encoder, TextEncoder):
        raise ValueError(
            "`text_encoder` must be a kmmft.encoders.TextEncoder. "
            f"Received: {text_encoder!r}."
        )
    check_micro_batch_size(micro_batch_size)
