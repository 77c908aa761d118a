"""What an exported recommender is asked."""

import tensorflow as tf

from kmmft.models.served_rows import ServedFunction, ServedRows


class RecommenderServing:
    """Mixin for a model with `item_tower`, `user_tower` and `kmmft.models.RawInputs`.

    Which items there are changes from day to day, so the export holds none: their
    vectors are kept by whoever asks, in an index of nearest neighbours.
    """

    def serve(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Vectors of raw items: what an exported model does by default.

        Args:
            **raw: As for `preprocess`.

        Returns:
            dict: `embedding` `(batch, hidden_dim)`.
        """
        features = self.features(self.preprocess(raw))
        return {"embedding": self.item_tower(features, training=False)}

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        `serving_default`, also called `encode_item`, gives the vectors of raw items.
        `encode_user` takes `history`, float `(batch, history_length, hidden_dim)`:
        these vectors of the latest items, the latest last, after as many zeros as are
        lacking.

        Args:
            **options: `strict` and `max_pixels`, as for `ServedRows`.

        Returns:
            dict of functions of raw inputs.
        """
        rows = ServedRows(self, **options)
        items = rows(self.serve, self.serving_inputs())
        spec = tf.TensorSpec(
            [None, self.history_length, self.hidden_dim], tf.float32, name="history"
        )
        users = rows(self._serve_users, {"history": spec}, self._example_histories)
        return {"serving_default": items, "encode_item": items, "encode_user": users}

    def _serve_users(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        mask = tf.reduce_any(history != 0.0, axis=-1)
        tower = self.user_tower({"items": history, "mask": mask}, training=False)
        return {"embedding": tower}

    def _example_histories(self, raw) -> dict[str, tf.Tensor]:
        """Of each raw item alone, as the only one that a user chose."""
        raw = {name: tf.convert_to_tensor(values) for name, values in raw.items()}
        vectors = self.serve(**raw)["embedding"][:, tf.newaxis]
        before = [[0, 0], [self.history_length - 1, 0], [0, 0]]
        return {"history": tf.pad(vectors, before)}
