"""Models with a `compile` of their own that come back from files compiled."""

import keras


class RestoredCompile:
    """Mixin for a `keras.Model` whose `compile` takes what Keras' own one does.

    Keras leaves models that override `compile` uncompiled when they are loaded.
    """

    def compile_from_config(self, config: dict) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)
