"""Classification or regression from any set of encoded modalities."""

import functools
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.losses import TASKS, task_loss
from kmmft.models.classifier_halves import ClassifierHalves, head_layers
from kmmft.models.classifier_serving import ClassifierServing
from kmmft.models.graph_cache import GraphCache
from kmmft.models.raw_inputs import RawInputs, batch_inputs, select_inputs
from kmmft.training import DistributedTraining
from kmmft.training.restored_compile import RestoredCompile


@keras.saving.register_keras_serializable("kmmft")
class FusionClassifier(
    ClassifierHalves,
    ClassifierServing,
    GraphCache,
    RawInputs,
    RestoredCompile,
    DistributedTraining,
    keras.Model,
):
    """Encodes each modality, fuses them and predicts classes or numbers.

    The model is a functional Keras model whose output is `(batch, num_outputs)`
    logits (numbers, for regression). Each encoder reads its inputs from the batch
    under its own name: an image encoder called `image` reads `image`, a text encoder
    called `text` reads `token_ids` and `padding_mask`, any other text encoder has its
    name before them, as in `question_token_ids`. A `TabularEncoder` called `table`
    reads `table_numbers` and `table_categories`; raw, its columns have their own
    names. An encoder whose `trainable` is
    False runs in inference mode.

    Args:
        encoders: Encoders by modality, in the order of the `Example` below. One or
            more.
        fusion: A fusion layer of `kmmft.layers`. May be `None` for one modality,
            whose pooled vector is then used as it is.
        class_names: Names of the classes, in the order of their ids. For regression
            the names of the numbers.
        task: `"single_label"` (one class an example), `"multi_label"` (any number)
            or `"regression"`.
        hidden_dims: Widths of the layers between fusion and output.
        dropout_rate: Dropout before each of the head's dense layers.
        missing_modalities: Whether examples may lack modalities. The batch then
            also holds `<modality>_present`, bool `(batch,)`, for each, and an empty
            raw input is one that is not there. The fusion puts a learnt vector or
            token in its place, and not zeros, which an encoder could give too.
        dtype: Dtype policy of the layers between fusion and output; default: Keras'
            own. Logits are float32.

    Call arguments:
        inputs: dict of tensors as above.

    Returns:
        float32 tensor `(batch, num_outputs)`.

    Raises:
        ValueError: If there is no encoder, `task` is unknown, there are several
            encoders without a fusion layer, or `class_names` are too few or repeat.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "?"]
        >>> model = kmmft.models.FusionClassifier(
        ...     encoders={
        ...         "image": kmmft.encoders.ImageEncoder(backbone),
        ...         "question": kmmft.encoders.TextEncoder(
        ...             keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...             keras_hub.models.BertTokenizer(words, lowercase=True),
        ...             sequence_length=6,
        ...         ),
        ...     },
        ...     fusion=kmmft.layers.ConcatFusion(hidden_dim=8),
        ...     class_names=["no", "yes"],
        ... )
        >>> png = tf.io.encode_png(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        >>> answer = model.classify({"image": [png], "question": ["Red?"]})
        >>> answer["probabilities"].shape
        (1, 2)
    """

    def __init__(
        self,
        encoders: Mapping[str, keras.Model],
        fusion: keras.layers.Layer | None,
        class_names: Sequence[str],
        task: str = "single_label",
        hidden_dims: Sequence[int] = (),
        dropout_rate: float = 0.0,
        missing_modalities: bool = False,
        name: str = "fusion_classifier",
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs,
    ):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        _check(encoders, fusion, class_names, task, missing_modalities)
        encoders = dict(encoders)
        # === Functional model ===
        inputs = batch_inputs(encoders)
        features = {
            modality: encoder(select_inputs(modality, encoder, inputs))
            for modality, encoder in encoders.items()
        }
        if missing_modalities:
            present = {
                modality: keras.Input((), dtype="bool", name=f"{modality}_present")
                for modality in encoders
            }
            inputs |= {
                f"{modality}_present": here for modality, here in present.items()
            }
            x = fusion(features, present=present)
        elif fusion is not None:
            x = fusion(features)
        else:
            (x,) = (feature["pooled"] for feature in features.values())
        head = head_layers(hidden_dims, dropout_rate, len(class_names), policy)
        logits = functools.reduce(lambda x, layer: layer(x), head, x)
        super().__init__(inputs=inputs, outputs=logits, name=name, **kwargs)
        # === Config ===
        self.dtype_policy = policy
        self.encoders = encoders
        self.fusion = fusion
        self.class_names = list(class_names)
        self.task = task
        self.hidden_dims = tuple(hidden_dims)
        self.dropout_rate = dropout_rate
        self.missing_modalities = missing_modalities
        self._head_names = [layer.name for layer in head]

    def compile(self, optimizer="adamw", loss="auto", metrics="auto", **kwargs) -> None:
        """As `keras.Model.compile`, with the task's own loss and metric by default.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: `"auto"` for `default_loss()`, or a Keras loss of logits.
            metrics: `"auto"` for accuracy (mean absolute error for regression).
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        if isinstance(loss, str) and loss == "auto":
            loss = self.default_loss()
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [
                {
                    "single_label": keras.metrics.SparseCategoricalAccuracy("accuracy"),
                    "multi_label": keras.metrics.BinaryAccuracy(
                        "accuracy", threshold=0.0
                    ),
                    "regression": keras.metrics.MeanAbsoluteError("mae"),
                }[self.task]
            ]
        self.forget_graphs()
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def default_loss(
        self, label_smoothing: float = 0.0, focal_gamma: float = 0.0
    ) -> keras.losses.Loss:
        """The loss that belongs to the task; takes logits.

        Args:
            label_smoothing: Share of the target spread over all classes.
            focal_gamma: Focusing parameter of the focal loss; 0 is cross-entropy.

        Returns:
            A Keras loss. Integer labels for `single_label`, `(batch, num_outputs)`
            for the other tasks. Weights of classes go to `fit(class_weight=...)`.

        Raises:
            ValueError: If a regression is asked for smoothing or focusing.
        """
        return task_loss(self.task, len(self.class_names), label_smoothing, focal_gamma)

    def serve(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers raw inputs: the function that an exported model runs.

        Args:
            **raw: As for `preprocess`.

        Returns:
            dict: `label` string `(batch,)`, the likeliest class (`single_label`
            only), `probability` float32 `(batch,)` of it, and `probabilities` float32
            `(batch, num_outputs)`. For regression: `values` `(batch, num_outputs)`.
        """
        logits = self(self.preprocess(raw), training=False)
        if self.task == "regression":
            return {"values": logits}
        if self.task == "multi_label":
            return {"probabilities": ops.sigmoid(logits)}
        probabilities = ops.softmax(logits)
        best = tf.argmax(probabilities, axis=-1)
        return {
            "label": tf.gather(tf.constant(self.class_names), best),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
        }

    def classify(
        self, raw: Mapping[str, Sequence], batch_size: int = 32
    ) -> dict[str, np.ndarray]:
        """Answers raw bytes and strings in Python, as `serve` does in a graph.

        Args:
            raw: By modality, a sequence of image bytes or of texts, of equal length.
            batch_size: How many are run at a time.

        Returns:
            dict of arrays, as `serve`.

        Raises:
            ValueError: If a modality is missing, the lengths differ, or a file cannot
                be decoded.

        Example::

            model.classify({"image": [jpeg_bytes], "question": ["what colour is it?"]})
        """
        serve = self._in_graph("serve", self.serve)
        parts = self._in_batches(lambda batch: serve(**batch), raw, batch_size)
        return {
            key: np.concatenate([part[key].numpy() for part in parts])
            for key in parts[0]
        }

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            # A list of pairs: dicts come back from JSON in another order.
            "encoders": [
                [modality, serialize(encoder)]
                for modality, encoder in self.encoders.items()
            ],
            "fusion": serialize(self.fusion),
            "class_names": self.class_names,
            "task": self.task,
            "hidden_dims": self.hidden_dims,
            "dropout_rate": self.dropout_rate,
            "missing_modalities": self.missing_modalities,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        def deserialize(value):
            return keras.saving.deserialize_keras_object(value, custom_objects)

        config = dict(config)
        config["encoders"] = {
            modality: deserialize(encoder) for modality, encoder in config["encoders"]
        }
        config["fusion"] = deserialize(config["fusion"])
        return cls(**config)


def _check(encoders, fusion, class_names, task, missing_modalities) -> None:
    if not encoders:
        raise ValueError("A FusionClassifier needs an encoder. Received: encoders={}.")
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {TASKS}. Received: task={task!r}.")
    if fusion is None and (len(encoders) > 1 or missing_modalities):
        raise ValueError(
            "Several modalities, or missing ones, need a fusion layer, such as "
            "kmmft.layers.GatedFusion(hidden_dim=256). Received: fusion=None with the "
            f"modalities {list(encoders)}."
        )
    layer_names = [encoder.name for encoder in encoders.values()]
    if len(set(layer_names)) < len(layer_names):
        raise ValueError(
            "Encoders must have different names, since Keras tells layers by them. "
            f"Received: {layer_names}. Give one of them another `name=`."
        )
    raw = [n for m, e in encoders.items() for n in getattr(e, "columns", [m])]
    if len(set(raw)) < len(raw):
        raise ValueError(
            "A column of a table must not be called like a modality or another column. "
            f"Received: {raw}. Rename one."
        )
    names = list(class_names)
    fewest = 2 if task == "single_label" else 1
    if len(names) < fewest or len(set(names)) < len(names):
        raise ValueError(
            f"`class_names` must be {fewest} or more different names for "
            f"task={task!r}. Received: {names}."
        )
