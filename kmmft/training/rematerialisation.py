"""Less memory for more computation: activations computed again when needed."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def rematerialise(
    model: keras.Model, blocks: Sequence[keras.layers.Layer] | None = None
) -> list[keras.layers.Layer]:
    """Lets blocks forget their activations and compute them again going backwards.

    Of each block only the inputs are kept for the gradient, so that larger batches,
    images or models fit, for about a third more time. Gradients stay the same: the
    second computation draws the same dropout masks as the first, which `keras.remat`
    does not, and changes no state. Randomness must come from the layers' own seed
    generators, as Keras' dropout layers have them. Concerns training only; in use and
    when saved the model is what it was. Call it before `fit`, and again on a model
    that was loaded.

    Args:
        model: A built model. Changed in place.
        blocks: Its layers to compute twice, none inside another. By default its
            transformer blocks: the layers that have both an attention and a
            normalisation among their own.

    Returns:
        The blocks.

    Raises:
        ValueError: If there are no blocks, or one is not built.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 2, 2, 8, 16)
        >>> len(kmmft.training.rematerialise(backbone))
        2

    References:
        - [Chen et al., 2016](https://arxiv.org/abs/1604.06174), section 3.
    """
    if blocks is None:
        blocks = [layer for layer in model._flatten_layers() if _is_block(layer)]
    if not blocks or not all(block.built for block in blocks):
        raise ValueError(
            "`rematerialise` needs a built model with transformer blocks. Received: "
            f"model={model.name!r}, blocks={[block.name for block in blocks]}. "
            "Name other layers by `blocks=`, or call the model once before."
        )
    for block in blocks:
        if not isinstance(block.call, _TwiceComputed):
            block.call = _TwiceComputed(block, block.call)
    return list(blocks)


def _is_block(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.Model):
        return False
    own = [type(part).__name__ for part in layer._flatten_layers(False, False)]
    return any("Attention" in name for name in own) and any(
        "Norm" in name for name in own
    )


class _TwiceComputed:
    """A layer's `call` that keeps its inputs only."""

    def __init__(self, layer: keras.layers.Layer, call: Callable):
        self.layer = layer
        self.call = call
        self.again = False

    def __call__(self, *args, **kwargs):
        training = self.layer._get_call_context().training
        if self.again or not training:
            return self.call(*args, **kwargs)
        # Only float tensors take part in gradients; others are kept as they are.
        arguments = tf.nest.flatten((args, kwargs))
        places = [i for i, value in enumerate(arguments) if _is_float(value)]
        masks = [getattr(arguments[i], "_keras_mask", None) for i in places]
        before, is_none = [], []

        def run(*inputs):
            for place, value, mask in zip(places, inputs, masks, strict=True):
                arguments[place] = value
                if mask is not None:
                    value._keras_mask = mask
            args_now, kwargs_now = tf.nest.pack_sequence_as((args, kwargs), arguments)
            if before:
                kwargs_now["training"] = training
                outputs = self._compute_again(before[0], args_now, kwargs_now)
            else:
                before.append(self._seeds())
                outputs = self.call(*args_now, **kwargs_now)
                is_none.append(tf.nest.map_structure(lambda x: x is None, outputs))
            return tuple(x for x in tf.nest.flatten(outputs) if x is not None)

        outputs = iter(tf.recompute_grad(run)(*(arguments[i] for i in places)))
        return tf.nest.map_structure(
            lambda none: None if none else next(outputs), is_none[0]
        )

    def _seeds(self) -> list[tuple[keras.Variable, tf.Tensor]]:
        """The seed generators' states before the layer draws from them."""
        # Keras names them all so. None holds its weights under this name.
        return [
            (variable, tf.identity(variable.value))
            for variable in self.layer.variables
            if variable.name == "seed_generator_state"
        ]

    def _compute_again(self, seeds, args, kwargs):
        self.again = True
        try:
            # Reads the old seeds, and keeps from the variables what is assigned.
            with keras.StatelessScope(state_mapping=seeds):
                return self.layer(*args, **kwargs)
        finally:
            self.again = False


def _is_float(value) -> bool:
    return tf.is_tensor(value) and value.dtype.is_floating
