"""Sets the rates of a model's dropout layers by a plan's rules."""

from collections.abc import Sequence

import keras

from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.rule import Rule, first_match


def set_dropout_rates(model: keras.Model, rules: Sequence[Rule]) -> None:
    """Gives dropout layers the rate of the first rule that matches their path.

    Args:
        model: Built model.
        rules: Rules, some with a `dropout_rate`.

    Raises:
        ValueError: If a rule has a rate, and there is no dropout layer for it.
    """
    layers = named_layers(model)
    set_by = set()
    for path, layer in layers.items():
        if not isinstance(layer, keras.layers.Dropout):
            continue
        rule = first_match(rules, path)
        if rule is not None and rule.dropout_rate is not None:
            _set_rate(layer, rule.dropout_rate)
            set_by.add(id(rule))
            attention = layers.get(path.rpartition("/")[0])
            if isinstance(attention, keras.layers.MultiHeadAttention):
                # It asks its own number whether to drop anything.
                attention._dropout = rule.dropout_rate
    for rule in rules:
        if rule.dropout_rate is not None and id(rule) not in set_by:
            raise ValueError(
                "`dropout_rate` needs dropout layers whose paths match. Received: "
                f"{rule}, which matches none. Look for them in "
                "kmmft.finetuning.named_layers(model)."
            )


def _set_rate(layer: keras.layers.Dropout, rate: float) -> None:
    layer.rate = rate
    if rate and not hasattr(layer, "seed_generator"):
        # A layer made with a rate of 0 has none.
        layer._tracker.unlock()
        layer.seed_generator = keras.random.SeedGenerator(layer.seed)
        layer._tracker.lock()
