"""What an exported model of towers is asked about one input and several texts."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.models.served_rows import ServedFunction, ServedRows


class SimilaritySignatures:
    """The functions `rank`, `zero_shot` and `zero_shot_by_embedding` of a model.

    All take the model's first image, video or audio modality, and compare each row with
    texts or vectors of its own, so that a server may group requests. Probabilities are
    those of the loss: over the candidates, or for each alone where the model has a bias
    (SigLIP).

    Args:
        model: A model with `kmmft.models.Encoding`.
        rows: Wraps the functions.
        encode: Functions from decoded inputs to vectors, by modality.
    """

    def __init__(
        self, model: keras.Model, rows: ServedRows, encode: Mapping[str, Callable]
    ):
        self.model = model
        self.rows = rows
        self.encode = encode
        self.specs = model.serving_inputs()
        files = model.file_modalities()
        texts = [modality for modality in model.encoders if modality not in files]
        self.query = files[0] if files else None
        self.text = texts[0] if texts else None

    def functions(
        self, class_names: Sequence[str], templates: Sequence[str]
    ) -> dict[str, ServedFunction]:
        """The functions by name; without an image or a text modality there are none.

        Raises:
            ValueError: If there are class names, but nothing to compare them with.
        """
        if self.query is None or self.text is None:
            if class_names:
                raise ValueError(
                    "`class_names` need an image, video or audio and a text encoder. "
                    f"Received: encoders of {list(self.model.encoders)}."
                )
            return {}
        functions = {
            "rank": self._rank(),
            "zero_shot_by_embedding": self._by_embedding(),
        }
        if class_names:
            functions["zero_shot"] = self._zero_shot(list(class_names), templates)
        return functions

    def _rank(self) -> ServedFunction:
        """Texts by likeness: `similarity` and `probability`, `order` and `best`.

        An empty string is no candidate; it fills up rows that have fewer than others.
        """
        spec = tf.TensorSpec([None, None], tf.string, name=self.text)

        def rank(**raw):
            # One empty candidate more, so that there is one to encode.
            texts = tf.pad(raw[self.text], [[0, 0], [0, 1]], constant_values="")
            unique, places = tf.unique(tf.reshape(texts, [-1]))
            places = tf.reshape(places, tf.shape(texts))
            vectors = tf.gather(self.encode[self.text](unique), places)
            queries = self.encode[self.query](raw[self.query])
            scores, logits = self.model.compare_candidates(queries, vectors)
            real = tf.strings.length(texts) > 0
            order = tf.argsort(
                tf.where(real, scores, -np.inf), direction="DESCENDING", stable=True
            )
            best = tf.gather(texts, order[:, 0], batch_dims=1)
            outputs = {
                "similarity": tf.where(real, scores, -1.0),
                "probability": self._probabilities(logits, real),
                "order": order,
            }
            return {"best": best} | {key: x[:, :-1] for key, x in outputs.items()}

        def examples(raw):
            texts = tf.reshape(tf.convert_to_tensor(raw[self.text], tf.string), [1, -1])
            count = len(raw[self.query])
            return {**self._own(raw), self.text: tf.repeat(texts, count, axis=0)}

        return self.rows(rank, {**self._own(self.specs), self.text: spec}, examples)

    def _zero_shot(
        self, class_names: list[str], templates: Sequence[str]
    ) -> ServedFunction:
        classifier = self.model.zero_shot_classifier(
            class_names, templates, modality=self.text
        )
        # A variable is stored once, beside the weights; a constant in each graph.
        vectors = tf.Variable(classifier, trainable=False, name="class_vectors")

        def zero_shot(**raw):
            queries = self.encode[self.query](raw[self.query])
            shape = [tf.shape(queries)[0], 1, 1]
            outputs = self._classify(queries, tf.tile(vectors[tf.newaxis], shape))
            best = outputs.pop("index")
            return {"label": tf.gather(tf.constant(class_names), best), **outputs}

        return self.rows(zero_shot, self._own(self.specs))

    def _by_embedding(self) -> ServedFunction:
        dim = self.model.output[self.text].shape[-1]
        # A vector of zeros is no class.
        spec = tf.TensorSpec([None, None, dim], tf.float32, name="class_embedding")

        def zero_shot(class_embedding, **raw):
            queries = self.encode[self.query](raw[self.query])
            return self._classify(queries, class_embedding)

        def examples(raw):
            vectors = self.model.encode(self.text, raw[self.text])
            repeated = np.repeat(vectors[np.newaxis], len(raw[self.query]), axis=0)
            return {**self._own(raw), "class_embedding": repeated}

        inputs = {**self._own(self.specs), "class_embedding": spec}
        return self.rows(zero_shot, inputs, examples)

    def _classify(self, queries: tf.Tensor, classes: tf.Tensor) -> dict:
        # One class more, which none can be: there may be no other one.
        padded = tf.pad(classes, [[0, 0], [0, 1], [0, 0]])
        _, logits = self.model.compare_candidates(queries, padded)
        # A server fills up with zeros where requests name unequally many classes.
        real = tf.reduce_any(padded != 0, axis=-1)
        probabilities = self._probabilities(logits, real)
        return {
            "index": tf.argmax(probabilities, axis=-1, output_type=tf.int32),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities[:, :-1],
        }

    def _probabilities(self, logits: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        if self.model.logit_scale_layer.logit_bias is not None:
            return tf.where(real, tf.sigmoid(logits), 0.0)
        lowest = tf.float32.min
        return tf.where(real, tf.nn.softmax(tf.where(real, logits, lowest)), 0.0)

    def _own(self, values: Mapping) -> dict:
        return {self.query: values[self.query]}
