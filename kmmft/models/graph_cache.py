"""Graphs that a model's own methods run, each traced when it is first asked for."""

from collections.abc import Callable, Hashable

import tensorflow as tf


class GraphCache:
    """Methods of a model that run eagerly called functions as graphs.

    The graphs are no attributes of the model, one by one: Keras would track them, and
    TensorFlow would trace them again wherever the model is part of a SavedModel.
    """

    def forget_graphs(self) -> None:
        """To be called when layers have changed, such as by LoRA: `compile` does."""
        vars(self).pop("_graphs", None)

    def _in_graph(
        self, key: Hashable, function: Callable, autograph: bool = True
    ) -> Callable:
        """The graph of `function` that is kept under `key`."""
        graphs = vars(self).setdefault("_graphs", {})
        if key not in graphs:
            graphs[key] = tf.function(
                function, reduce_retracing=True, autograph=autograph
            )
        return graphs[key]
