"""The place in a text that answers a question."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.encoders import TextPairEncoder
from kmmft.models.answer_spans import answer_places, best_spans, choose_windows
from kmmft.models.context_windows import ContextWindows
from kmmft.models.graph_cache import GraphCache
from kmmft.models.raw_inputs import RawInputs
from kmmft.models.raw_rows import check_batch_size, check_rows
from kmmft.models.served_rows import ServedFunction, ServedRows
from kmmft.training import DistributedTraining
from kmmft.training.restored_compile import RestoredCompile


@keras.saving.register_keras_serializable("kmmft")
class QuestionAnswerer(
    GraphCache, RawInputs, RestoredCompile, DistributedTraining, keras.Model
):
    """Reads question and context together and marks where the answer begins and ends.

    An answer consists of whole words of the context (see
    `kmmft.encoders.word_tokens.split_words`). The first token of all, the class token
    in most families, stands for "there is no answer". A long context is read in windows
    that overlap: in training one a step, drawn by seed, with the answer in four of
    five; in use all of them, and the likeliest answer of any is taken.

    Args:
        encoder: A `kmmft.encoders.TextPairEncoder` with a tokenizer.
        window_overlap: Tokens that two neighbouring windows have in common.
        max_question_tokens: Longer questions lose their end.
        max_answer_tokens: Longest answer.
        no_answer_threshold: Above this probability that the context has no answer, the
            answer is the empty string; 1 is never.
        dropout_rate: Dropout before the output layer.

    Call arguments:
        inputs: dict of the encoder's inputs, `(batch, length)`.

    Returns:
        float32 tensor `(batch, 2, length)`: logits of where the answer begins and
        where it ends.

    Raises:
        ValueError: If a number is out of its range, or the encoder has no tokenizer.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "anna"]
        >>> model = kmmft.models.QuestionAnswerer(
        ...     kmmft.encoders.TextPairEncoder(
        ...         keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...         keras_hub.models.BertTokenizer(words, lowercase=True),
        ...         sequence_length=12),
        ...     max_question_tokens=4)
        >>> model.answer(["Who?"], ["Anna."])["text"][0] in ("Anna", "Anna.", ".")
        True

    References:
        - [Devlin et al., 2018](https://arxiv.org/abs/1810.04805), sec. 4.2 and 4.3.
    """

    missing_modalities = False

    def __init__(
        self,
        encoder: TextPairEncoder,
        window_overlap: int = 128,
        max_question_tokens: int = 64,
        max_answer_tokens: int = 30,
        no_answer_threshold: float = 1.0,
        dropout_rate: float = 0.0,
        name: str = "question_answerer",
        **kwargs,
    ):
        _check(encoder, max_answer_tokens, no_answer_threshold)
        windows = ContextWindows(encoder, window_overlap, max_question_tokens)
        # === Functional model ===
        inputs = {
            key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
            for key, tensor in encoder.input.items()
        }
        features = encoder(inputs)
        x = keras.layers.Dropout(dropout_rate, name="output_dropout")(
            features["tokens"]
        )
        logits = keras.layers.Dense(2, dtype="float32", name="logits")(x)
        # Padding is no place.
        logits = ops.where(features["mask"][..., None], logits, -1e9)
        logits = ops.transpose(logits, (0, 2, 1))
        super().__init__(inputs=inputs, outputs=logits, name=name, **kwargs)
        # === Config ===
        self.encoders = {"text": encoder}
        self.window_overlap = window_overlap
        self.max_question_tokens = max_question_tokens
        self.max_answer_tokens = max_answer_tokens
        self.no_answer_threshold = no_answer_threshold
        self.dropout_rate = dropout_rate
        self.windows = windows

    @property
    def encoder(self) -> TextPairEncoder:
        """The text encoder."""
        return self.encoders["text"]

    def compile(self, optimizer="adamw", loss="auto", metrics="auto", **kwargs) -> None:
        """As `keras.Model.compile`, with the cross-entropy of both ends.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: `"auto"`, or a Keras loss of places `(batch, 2)` and logits.
            metrics: `"auto"`: the share of ends that are right.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy("accuracy")]
        self.forget_graphs()
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    # === Training ===
    def prepare_record(self, record: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Question, context and the first answer: a `preprocess` for `build_dataset`.

        Args:
            record: Features of `kmmft.data.schema.question_context`.

        Returns:
            dict of the strings `question`, `context` and `answer` (empty for none),
            `answer_start` int64, -1 for none, and `draw` float32 `(2,)`, which chooses
            the window: the first one with the answer.
        """
        none = {"answers": "", "answer_starts": tf.constant(-1, tf.int64)}
        answer, start = (
            tf.concat([record[name], [empty]], 0)[0] for name, empty in none.items()
        )
        return {
            "question": record["question"],
            "context": record["context"],
            "answer": answer,
            "answer_start": start,
            "draw": tf.zeros([2]),
        }

    @staticmethod
    def draw_window(record: Mapping, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Lets the seed choose the window: an `augment` for `build_dataset`."""
        return {**record, "draw": tf.random.stateless_uniform([2], seed)}

    def prepare_batch(self, batch: Mapping[str, tf.Tensor]) -> tuple:
        """Makes what `fit` takes: a `batch_preprocess` for `build_dataset`.

        Args:
            batch: Batch of what `prepare_record` returns.

        Returns:
            `(inputs, places)`: places int32 `(batch, 2)`, first and last token of the
            answer in the window; both 0 where it holds none.
        """
        contexts = self.windows.tokenise(batch["question"], batch["context"])
        spans = answer_places(
            contexts, batch["context"], batch["answer"], batch["answer_start"]
        )
        start = choose_windows(contexts, spans, batch["draw"])
        starts = tf.RaggedTensor.from_tensor(start[:, None])
        packed = self.windows.pack(contexts, starts).packed
        inside = (spans[:, 0] >= start) & (spans[:, 1] < start + contexts.room)
        inside &= spans[:, 0] >= 0
        places = spans - start[:, None] + packed.second_start[:, None]
        places = tf.where(inside[:, None], places, 0)
        return packed.inputs(self.encoder.input), tf.ensure_shape(places, [None, 2])

    # === Use ===
    def serve(self, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers questions in a graph.

        Args:
            question: string tensor `(batch,)`.
            context: string tensor `(batch,)`.

        Returns:
            dict: `text` string `(batch,)`, the answer, empty where there seems to be
            none; `best_text` string, the best answer in any case; `start` int64, its
            first byte in the context; `no_answer_probability` float32, of no answer
            against the best one.
        """
        context = tf.strings.unicode_transcode(context, "UTF-8", "UTF-8")
        contexts = self.windows.tokenise(question, context)
        windows = self.windows.pack(contexts, contexts.starts)
        logits = self(windows.packed.inputs(self.encoder.input), training=False)
        found = best_spans(logits, windows, self.max_answer_tokens)
        first, last, silence = found.of_examples(contexts.starts)
        words = contexts.words
        start = tf.gather(_with_blank(words.starts), tf.maximum(first, 0), batch_dims=1)
        end = tf.gather(_with_blank(words.ends), tf.maximum(last, 0), batch_dims=1)
        text = tf.strings.substr(
            context, start, tf.where(first < 0, start, end) - start
        )
        silent = silence > self.no_answer_threshold
        return {
            "text": tf.where(silent, "", text),
            "best_text": text,
            "start": start,
            "no_answer_probability": silence,
        }

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        batch_size: int = 32,
    ) -> dict[str, np.ndarray]:
        """Answers questions in Python, as `serve` does in a graph.

        Args:
            questions: The questions.
            contexts: The text to look at for each.
            batch_size: How many are answered at a time.

        Returns:
            dict of arrays, as `serve`; texts are `str`.

        Raises:
            ValueError: If there is no question, their numbers differ, or they are no
                lists.
        """
        check_rows({"question": questions, "context": contexts})
        check_batch_size(batch_size)
        run = self._in_graph("answer", self.serve)
        parts = []
        for first in range(0, len(questions), batch_size):
            chosen = slice(first, first + batch_size)
            asked = tf.constant(questions[chosen], tf.string)
            parts.append(run(asked, tf.constant(contexts[chosen], tf.string)))
        found = {
            name: np.concatenate([part[name].numpy() for part in parts])
            for name in parts[0]
        }
        texts = np.array([text.decode() for text in found["best_text"]], object)
        # The threshold may have changed since the graph was made.
        silent = found["no_answer_probability"] > self.no_answer_threshold
        return {**found, "best_text": texts, "text": np.where(silent, "", texts)}

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked: `serving_default`, also `answer`.

        Args:
            **options: As for `ServedRows`.

        Returns:
            dict of functions of raw inputs.
        """
        specs = {
            name: tf.TensorSpec([None], tf.string, name=name)
            for name in ("question", "context")
        }
        served = ServedRows(self, **options)(self.serve, specs)
        return {"serving_default": served, "answer": served}

    # === Config ===
    def get_config(self) -> dict:
        names = ("name", "trainable", "window_overlap", "max_question_tokens")
        names += ("max_answer_tokens", "no_answer_threshold", "dropout_rate")
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {"encoder": encoder, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        encoder = keras.saving.deserialize_keras_object(
            config["encoder"], custom_objects
        )
        return cls(**{**config, "encoder": encoder})


def _with_blank(ragged: tf.RaggedTensor) -> tf.Tensor:
    """Dense, with a column of 0 at the end, so that there is one."""
    return tf.pad(ragged.to_tensor(0), [[0, 0], [0, 1]])


def _check(encoder, max_answer_tokens, no_answer_threshold) -> None:
    if not isinstance(encoder, TextPairEncoder) or encoder.tokenizer is None:
        raise ValueError(
            "A QuestionAnswerer reads two texts together. Received: "
            f"{type(encoder).__name__}. Give it a kmmft.encoders.TextPairEncoder with "
            "a tokenizer."
        )
    if max_answer_tokens < 1 or not 0 <= no_answer_threshold <= 1:
        raise ValueError(
            "`max_answer_tokens` must be positive and `no_answer_threshold` from 0 to "
            f"1. Received: {max_answer_tokens} and {no_answer_threshold}."
        )
