"""Items of pictures and texts, recommended after those that a user chose before."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.layers import LogitScale
from kmmft.losses import Embeddings, sampled_softmax
from kmmft.models.graph_cache import GraphCache
from kmmft.models.raw_inputs import RawInputs
from kmmft.models.recommender_serving import RecommenderServing
from kmmft.models.recommender_towers import inputs_like, item_tower, user_tower
from kmmft.training import DistributedTraining
from kmmft.training.collectives import all_reduce_sum, num_replicas
from kmmft.training.distributed import loggable
from kmmft.training.global_batch import gather_embeddings, own_numbers
from kmmft.training.micro_batches import additional_loss
from kmmft.training.restored_compile import RestoredCompile


@keras.saving.register_keras_serializable("kmmft")
class SequenceRecommender(
    RecommenderServing,
    GraphCache,
    RawInputs,
    RestoredCompile,
    DistributedTraining,
    keras.Model,
):
    """Two towers: items as what they show and say, users as the items they chose.

    The item tower fuses the vectors of frozen encoders, with learnt replacements for
    a picture or a text that is missing. It knows nothing of an item but these, so that
    items that nobody has chosen yet are recommended too. The user tower is a
    transformer over the item tower's vectors of the history, then their mean. Both
    give vectors of length 1; what is to be recommended are the items nearest to the
    user (`kmmft.evaluation.SearchIndex`).

    The encoders do not train, so `features` computes an item's vectors once and
    batches hold these. The loss is `kmmft.losses.sampled_softmax` over the items of
    the global batch, on any number of replicas.

    Args:
        encoders: Encoders by modality, such as `image` and `text`. They are frozen.
        hidden_dim: Width of the towers' vectors.
        history_length: Items of a history that are looked at, the latest ones.
        num_layers: Blocks of the user tower; with 0 it is the mean of the items.
        dropout_rate: Dropout in both towers.
        modality_dropout_rate: How often a modality of an item is hidden in training.
        logit_scale: First value of the learnt factor on the cosines.

    Call arguments:
        inputs: dict of `item_<modality>` `(batch, dim)`, `item_<modality>_present`
            bool `(batch,)`, `history_<modality>` `(batch, history_length, dim)`,
            `history_<modality>_present` and `history_mask` bool `(batch,
            history_length)`: False, at the beginning, where a history is shorter. In
            training also `item_log_frequency` `(batch,)`, if frequencies are corrected;
            targets are the items' numbers.

    Returns:
        dict of float32 tensors `(batch, hidden_dim)`: `user` and `item`.

    Raises:
        ValueError: If there is no encoder or a number is out of range.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> model = kmmft.models.SequenceRecommender(
        ...     {"image": kmmft.encoders.ImageEncoder(backbone)},
        ...     hidden_dim=4, history_length=3,
        ... )
        >>> png = tf.io.encode_png(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        >>> items = model.encode_items({"image": [png, png]})
        >>> users = model.encode_users([items, items[:1]])
        >>> (users @ items.T).shape
        (2, 2)

    References:
        - [Yi et al., 2019](https://doi.org/10.1145/3298689.3346996) (two towers).
        - [Kang and McAuley, 2018](https://arxiv.org/abs/1808.09781) (a transformer
          over the history).
    """

    missing_modalities = True

    def __init__(
        self,
        encoders: Mapping[str, keras.Model],
        hidden_dim: int = 128,
        history_length: int = 20,
        num_layers: int = 1,
        dropout_rate: float = 0.1,
        modality_dropout_rate: float = 0.0,
        logit_scale: float = 1 / 0.07,
        name: str = "sequence_recommender",
        **kwargs,
    ):
        encoders = dict(encoders)
        if not encoders or min(hidden_dim, history_length) < 1 or num_layers < 0:
            raise ValueError(
                "A SequenceRecommender needs an encoder, `hidden_dim` and "
                "`history_length` of at least 1, and `num_layers` of at least 0. "
                f"Received: encoders={list(encoders)}, hidden_dim={hidden_dim}, "
                f"history_length={history_length}, num_layers={num_layers}."
            )
        for encoder in encoders.values():
            encoder.trainable = False
        # === Layers ===
        widths = {name: x.output["pooled"].shape[-1] for name, x in encoders.items()}
        items = item_tower(widths, hidden_dim, dropout_rate, modality_dropout_rate)
        users = user_tower(hidden_dim, history_length, num_layers, dropout_rate)
        # === Functional model ===
        inputs = {
            **inputs_like(items, "item"),
            **inputs_like(items, "history", history_length),
            "history_mask": keras.Input(
                (history_length,), dtype="bool", name="history_mask"
            ),
        }
        past = {
            name: ops.reshape(inputs[f"history_{name}"], (-1, *tensor.shape[1:]))
            for name, tensor in items.input.items()
        }
        vectors = ops.reshape(items(past), (-1, history_length, hidden_dim))
        outputs = {
            "user": users({"items": vectors, "mask": inputs["history_mask"]}),
            "item": items({name: inputs[f"item_{name}"] for name in items.input}),
        }
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self.encoders = encoders
        self.item_tower = items
        self.user_tower = users
        self.logit_scale_layer = LogitScale(logit_scale, name="logit_scale")
        # === Config ===
        self.hidden_dim = hidden_dim
        self.history_length = history_length
        self.num_layers = num_layers
        self.dropout_rate = dropout_rate
        self.modality_dropout_rate = modality_dropout_rate
        self.initial_logit_scale = logit_scale

    def compile(self, optimizer="adamw", **kwargs) -> None:
        """As `keras.Model.compile`, without a choice of loss.

        Args:
            optimizer: A Keras optimizer or its name.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        self.forget_graphs()
        super().compile(optimizer=optimizer, **kwargs)

    def call(self, inputs, training=None, mask=None, **kwargs):
        # What the loss alone needs is no input of the towers.
        inputs = {key: inputs[key] for key in self.input}
        return super().call(inputs, training=training, mask=mask, **kwargs)

    # === Training ===
    def loss_of_step(self, batch: tuple, outputs: Mapping) -> tf.Tensor:
        if self.micro_batch_size is not None:
            raise ValueError(
                "A SequenceRecommender compares all items of a batch. Received: "
                f"micro_batch_size={self.micro_batch_size}. Leave it at None."
            )
        inputs, item, _ = batch
        index, pairs = own_numbers(tf.shape(outputs["item"])[0])
        group = tf.reshape(tf.cast(item, tf.int64), [-1])
        frequency = inputs.get("item_log_frequency")
        if frequency is not None:
            # One more number a row to be gathered, in a teacher's vector's place.
            frequency = tf.reshape(frequency, [-1, 1])
        users = Embeddings(outputs["user"], group, index)
        items = Embeddings(outputs["item"], group, index, frequency)
        everyone = gather_embeddings({"item": items}, {})["item"]
        losses = sampled_softmax(
            users,
            everyone,
            self.logit_scale_layer.scale(),
            None if frequency is None else everyone.teacher[:, 0],
        )
        loss = tf.reduce_sum(losses) / tf.cast(pairs, tf.float32)
        return loss + additional_loss(self) / num_replicas()

    def test_step(self, data):
        inputs, item, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss = self.loss_of_step((inputs, item, None), self(inputs, training=False))
        (loss,) = all_reduce_sum([loss])
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(item)[0])
        return loggable({"loss": self._loss_tracker.result()})

    # === Use ===
    def features(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What the frozen encoders make of items: the item tower's inputs.

        Args:
            inputs: What `preprocess` or `prepare_batch` gives.

        Returns:
            By modality float32 `(batch, dim)`, and `<modality>_present` `(batch,)`.
        """
        found = {}
        for modality, encoder in self.encoders.items():
            pooled = encoder(self.select(modality, inputs), training=False)["pooled"]
            found[modality] = tf.cast(pooled, tf.float32)
            found[f"{modality}_present"] = inputs[f"{modality}_present"]
        return found

    def encode_items(
        self, raw: Mapping[str, Sequence], batch_size: int = 64
    ) -> np.ndarray:
        """Vectors of items.

        Args:
            raw: By modality, bytes or texts of each item; empty ones are missing.
            batch_size: How many are encoded at a time.

        Returns:
            float32 array `(items, hidden_dim)`, rows of length 1.

        Raises:
            ValueError: If a modality is missing, or there are not equally many of each.
        """
        run = self._in_graph("items", lambda raw: self.serve(**raw)["embedding"])
        return np.concatenate(self._in_batches(run, raw, batch_size))

    def encode_users(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors of users.

        Args:
            histories: For each user the vectors `(number, hidden_dim)` of the items
                that were chosen, the latest last. One without items gets zeros.

        Returns:
            float32 array `(users, hidden_dim)`.

        Raises:
            ValueError: If there is no user, or a history is not finite vectors.
        """
        _check_histories(histories, self.hidden_dim)
        shape = (len(histories), self.history_length, self.hidden_dim)
        items, mask = np.zeros(shape, np.float32), np.zeros(shape[:2], bool)
        for row, vectors in enumerate(histories):
            latest = np.asarray(vectors)[-self.history_length :]
            if len(latest):
                items[row, -len(latest) :] = latest
                mask[row, -len(latest) :] = True
        run = self._in_graph("users", self.user_tower)
        rows = {"items": tf.constant(items), "mask": tf.constant(mask)}
        parts = tf.data.Dataset.from_tensor_slices(rows).batch(256)
        return np.concatenate([run(part).numpy() for part in parts])

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            # A list of pairs: dicts come back from JSON in another order.
            "encoders": [[name, serialize(x)] for name, x in self.encoders.items()],
            "hidden_dim": self.hidden_dim,
            "history_length": self.history_length,
            "num_layers": self.num_layers,
            "dropout_rate": self.dropout_rate,
            "modality_dropout_rate": self.modality_dropout_rate,
            "logit_scale": self.initial_logit_scale,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        deserialize = keras.saving.deserialize_keras_object
        encoders = {
            name: deserialize(encoder, custom_objects)
            for name, encoder in config["encoders"]
        }
        return cls(**{**config, "encoders": encoders})


def _check_histories(histories: Sequence[np.ndarray], hidden_dim: int) -> None:
    shapes = [np.shape(vectors) for vectors in histories if len(vectors)]
    wrong = [shape for shape in shapes if len(shape) != 2 or shape[1] != hidden_dim]
    if wrong or not len(histories):
        raise ValueError(
            f"Histories must be arrays (number, {hidden_dim}), one for each user. "
            f"Received: {f'one of shape {wrong[0]}' if wrong else 'none'}. Take rows "
            "of what encode_items gives."
        )
    if not all(np.isfinite(vectors).all() for vectors in histories):
        raise ValueError(
            "Histories must be finite vectors. Received: NaN or infinity. Take rows of "
            "what encode_items gives."
        )
