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
    """
    layers = named_layers(model)
    for path, rule in _followed(model, rules).items():
        _set_rate(layers[path], rule.dropout_rate)
        attention = layers.get(path.rpartition("/")[0])
        if isinstance(attention, keras.layers.MultiHeadAttention):
            # It asks its own number whether to drop anything.
            attention._dropout = rule.dropout_rate


def check_dropout_rates(model: keras.Model, rules: Sequence[Rule]) -> None:
    """Raises a ValueError if a rule has a rate and no dropout layer for it."""
    used = {id(rule) for rule in _followed(model, rules).values()}
    for rule in rules:
        if rule.dropout_rate is not None and id(rule) not in used:
            raise ValueError(
                "`dropout_rate` needs dropout layers whose paths match. Received: "
                f"{rule}, which matches none. Look for them in "
                "kmmft.finetuning.named_layers(model)."
            )


def _followed(model: keras.Model, rules: Sequence[Rule]) -> dict[str, Rule]:
    """By a dropout layer's path, the rule that gives it a rate."""
    matches = {
        path: first_match(rules, path)
        for path, layer in named_layers(model).items()
        if isinstance(layer, keras.layers.Dropout)
    }
    return {
        path: rule
        for path, rule in matches.items()
        if rule is not None and rule.dropout_rate is not None
    }


def _set_rate(layer: keras.layers.Dropout, rate: float) -> None:
    layer.rate = rate
    if rate and not hasattr(layer, "seed_generator"):
        # A layer made with a rate of 0 has none.
        layer._tracker.unlock()
        layer.seed_generator = keras.random.SeedGenerator(layer.seed)
        layer._tracker.lock()
