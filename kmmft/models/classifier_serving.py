"""What an exported classifier is asked."""

import tensorflow as tf

from kmmft.models.served_rows import ServedFunction, ServedRows


class ClassifierServing:
    """Mixin for a model with `serve`, `encoders` and `kmmft.models.RawInputs`."""

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked, by the name of the signature.

        `serving_default` is `serve`, also called `answer` where there is a modality
        `question`, `regress` for a regression, and `classify` else. Beside it, each
        modality has its `encode_<modality>`, the encoder's pooled vector.

        Args:
            **options: `strict` and `max_pixels`, as for `ServedRows`.

        Returns:
            dict of functions of raw inputs.
        """
        rows = ServedRows(self, **options)
        specs = self.serving_inputs()

        def encoder_of(modality):
            def encode(**raw):
                own = self.raw_of(modality, raw)
                inputs = self.preprocess_modality(modality, own)
                own = self.select(modality, inputs)
                vectors = self.encoders[modality](own, training=False)["pooled"]
                return {"embedding": tf.cast(vectors, tf.float32)}

            return rows(encode, self.raw_specs(modality))

        kinds = {"regression": "regress"}
        name = "answer" if "question" in specs else kinds.get(self.task, "classify")
        answer = rows(self.serve, specs)
        encoders = {
            f"encode_{modality}": encoder_of(modality) for modality in self.encoders
        }
        return {"serving_default": answer, name: answer, **encoders}
