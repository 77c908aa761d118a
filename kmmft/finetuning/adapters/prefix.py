"""Prefix tuning: learned keys and values before those of the input."""

import dataclasses

import keras
from keras import ops

from kmmft.finetuning.adapters.adapted_layer import AdaptedLayer, adapt
from kmmft.finetuning.adapters.adapter import Adapter, check_positive, choose
from kmmft.finetuning.adapters.transformer_parts import attentions


@dataclasses.dataclass(frozen=True)
class PrefixTokens(Adapter):
    """Learns `count` keys and values that every token of an attention attends to.

    They stand before the input's, under no mask. Other than the other adapters this
    one changes the model's outputs from the start, since attention must go somewhere.
    The paper's reparametrisation by a network is left out. Cannot be merged.

    Args:
        count: Number of keys and values of each attention.
        targets: Pattern, or patterns, over paths of attentions.

    Raises:
        ValueError: If `count` is not positive.

    Example:
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> layers = kmmft.finetuning.named_layers(backbone)
        >>> weights = kmmft.finetuning.PrefixTokens(count=3).insert(backbone, layers)
        >>> [(weight.name, tuple(weight.shape)) for weight in weights]
        [('prefix_key', (3, 2, 4)), ('prefix_value', (3, 2, 4))]

    References:
        - [Li & Liang, 2021](https://arxiv.org/abs/2101.00190), eq. 3, as keys and
          values (section 4.2).
    """

    count: int = 16
    targets: str | tuple[str, ...] = "*"

    def __post_init__(self):
        check_positive(count=self.count)

    def change(self, all_layers: dict, layers: dict) -> list[keras.Variable]:
        found = attentions(all_layers, layers)
        chosen = choose(found, self.targets, "MultiHeadAttention layers")
        for path, layer in chosen.items():
            _check_attention(path, layer)
        weights = []
        for layer in chosen.values():
            weights += adapt(layer, Prefixed, self)
        return weights


class Prefixed(AdaptedLayer):
    """Keras' attention with learned keys and values."""

    mergeable = False
    can_do_nothing = False

    def build_adapter(self) -> None:
        start = keras.initializers.RandomNormal(stddev=0.02)
        heads, count = self.num_heads, self.adapter.count
        self.add_adapter_weight("prefix_key", (count, heads, self.key_dim), start)
        self.add_adapter_weight(
            "prefix_value", (count, heads, self.value_dim), start.clone()
        )

    # A private method of Keras, made to be overridden: the queries, keys and values
    # have gone through their projections, the masks are one.
    def _compute_attention(
        self, query, key, value, attention_mask=None, *args, **kwargs
    ):
        key = _prepend(self.prefix_key, key)
        value = _prepend(self.prefix_value, value)
        if attention_mask is not None:
            seen = ops.ones_like(attention_mask[..., :1])
            seen = ops.repeat(seen, self.adapter.count, axis=-1)
            attention_mask = ops.concatenate([seen, attention_mask], axis=-1)
        return super()._compute_attention(
            query, key, value, attention_mask, *args, **kwargs
        )


def _prepend(prefix, x):
    prefix = ops.cast(ops.expand_dims(prefix, 0), x.dtype)
    prefix = ops.repeat(prefix, ops.shape(x)[0], axis=0)
    return ops.concatenate([prefix, x], axis=1)


def _check_attention(path: str, layer: keras.layers.MultiHeadAttention) -> None:
    stock = keras.layers.MultiHeadAttention
    kind = type(layer)
    if (
        kind.call is stock.call
        and kind._compute_attention is stock._compute_attention
        and len(layer._attention_axes) == 1
    ):
        return
    raise ValueError(
        "A prefix needs Keras' own attention over one axis. Received: "
        f"{path!r}, a {kind.__name__}. Leave it out with `targets`."
    )
