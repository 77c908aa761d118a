"""Which rule each weight follows, when it begins to train and how fast."""

import dataclasses
from collections.abc import Sequence

import keras

from kmmft.finetuning.layer_depths import layer_depths
from kmmft.finetuning.named_parts import named_layers, named_variables
from kmmft.finetuning.near_names import near_names
from kmmft.finetuning.rule import Rule, first_match


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedWeight:
    """One weight of a model under a plan.

    Attributes:
        path: Its path.
        variable: The weight.
        rule: The rule that it follows.
        is_added: Whether an adapter made it.
        trains: Whether it ever trains.
        from_epoch: The epoch in which it begins.
        from_step: The number of steps after which it begins.
        learning_rate_scale: Factor on its rate, all together.
    """

    path: str
    variable: keras.Variable
    rule: Rule
    is_added: bool
    trains: bool
    from_epoch: int
    from_step: int
    learning_rate_scale: float

    @property
    def is_late(self) -> bool:
        return self.trains and (self.from_epoch > 0 or self.from_step > 0)

    def has_begun(self, epoch: int, step: int) -> bool:
        return self.trains and epoch >= self.from_epoch and step >= self.from_step


def plan_weights(model: keras.Model, rules: Sequence[Rule]) -> list[PlannedWeight]:
    """Finds each weight's rule, and inserts the rules' adapters.

    Args:
        model: Built model; adapters change it.
        rules: The plan's rules.

    Returns:
        The weights of the model, those of its adapters among them, in the order of
        `model.weights`.

    Raises:
        ValueError: If a weight has no rule, a rule no weight, or nothing trains from
            the beginning.
    """
    followed = match_rules(rules, list(named_variables(model)))
    adapted, before = _insert_adapters(model, rules, followed)
    depths = layer_depths(model)
    top = max(depths.values())
    trainable = trainable_weights(model) - frozen_norm_weights(model, followed)
    weights = []
    for path, variable in named_variables(model).items():
        is_added = id(variable) not in before
        rule = adapted[id(variable)] if is_added else followed[path]
        trains = id(variable) in trainable and rule.train
        if rule.adapter is not None:
            trains &= id(variable) in adapted
        above = top - depths[path]
        weights.append(_planned(path, variable, rule, is_added, trains, above))
    weights = _start_by_groups(weights, depths)
    _check_something_begins(weights)
    return weights


def _check_something_begins(weights: list[PlannedWeight]) -> None:
    if any(weight.has_begun(0, 0) for weight in weights):
        return
    late = sum(weight.is_late for weight in weights)
    raise ValueError(
        "Some weights must train from the beginning. Received: a plan by which none "
        f"does, and {late} begin later. Let new weights, such as a head's, begin at "
        "once."
    )


def match_rules(rules: Sequence[Rule], paths: list[str]) -> dict[str, Rule]:
    """The first rule that matches each path.

    Raises:
        ValueError: If a path has no rule, or a rule no path.
    """
    followed = {path: first_match(rules, path) for path in paths}
    for rule in rules:
        if not any(other is rule for other in followed.values()):
            raise ValueError(_unused(rule, paths))
    left = [path for path, rule in followed.items() if rule is None]
    if left:
        raise ValueError(
            "Each weight needs a rule. Received: no rule for "
            f"{left[:3]} ({len(left)} in all). Add Rule('*') at the end."
        )
    return followed


def _unused(rule: Rule, paths: list[str]) -> str:
    taken = [path for path in paths if first_match([rule], path)]
    if taken:
        return (
            "The first rule that matches a weight counts. Received: "
            f"{rule}, whose weights, such as {taken[0]!r}, follow rules before it. "
            "Put it before them."
        )
    return (
        f"A rule must match some weights. Received: {rule}, which matches none. "
        f"Near names: {near_names(rule.pattern, paths)}."
    )


def trainable_weights(model: keras.Model) -> set[int]:
    """Ids of the weights that can train, whether or not they do now."""
    layers = [model, *named_layers(model).values()]
    return {id(v) for layer in layers for v in layer._trainable_variables}


def frozen_norms(
    model: keras.Model, followed: dict[str, Rule]
) -> list[keras.layers.Layer]:
    """BatchNorm layers that a rule freezes, statistics and all."""
    return [
        layer
        for path, layer in named_layers(model).items()
        if isinstance(layer, keras.layers.BatchNormalization)
        and any(
            rule.batch_norm_frozen
            for weight, rule in followed.items()
            if weight.startswith(f"{path}/")
        )
    ]


def frozen_norm_weights(model: keras.Model, followed: dict[str, Rule]) -> set[int]:
    """Ids of all weights of the BatchNorm layers that a rule freezes."""
    norms = frozen_norms(model, followed)
    return {id(variable) for layer in norms for variable in layer.weights}


def _insert_adapters(
    model: keras.Model, rules: Sequence[Rule], followed: dict[str, Rule]
) -> tuple[dict[int, Rule], set[int]]:
    """Rules of the weights that adapters train, by id, and ids of the weights before.

    All that an adapter adds counts as its own, whether it trains or not.
    """
    first = {id(variable) for variable in model.weights}
    known, adapted, layers = set(first), {}, named_layers(model)
    for rule in rules:
        if rule.adapter is None:
            continue
        own = {path for path, other in followed.items() if other is rule}
        with model.distribute_strategy.scope():
            trained = rule.adapter.insert(model, _layers_of(layers, own))
        added = [v for v in model.weights if id(v) not in known]
        known |= {id(variable) for variable in added}
        adapted |= {id(variable): rule for variable in [*added, *trained]}
    return adapted, first


def _layers_of(layers: dict, paths: set[str]) -> dict[str, keras.layers.Layer]:
    """Layers that own some of these weights themselves."""
    owners = {path.rpartition("/")[0] for path in paths}
    return {path: layer for path, layer in layers.items() if path in owners}


def _planned(path, variable, rule, is_added, trains, above) -> PlannedWeight:
    scale = rule.learning_rate_scale
    if rule.layer_decay is not None:
        scale *= rule.layer_decay**above
    return PlannedWeight(
        path,
        variable,
        rule,
        is_added,
        trains,
        rule.train_from_epoch,
        rule.train_from_step or 0,
        scale,
    )


def _start_by_groups(
    weights: list[PlannedWeight], depths: dict[str, int]
) -> list[PlannedWeight]:
    """Sets the epochs of weights whose rules let them begin top down."""
    levels = {}
    for weight in weights:
        if weight.rule.epochs_per_group is not None and weight.trains:
            levels.setdefault(id(weight.rule), set()).add(depths[weight.path])
    return [
        dataclasses.replace(weight, from_epoch=_epoch(weight, depths, levels))
        if weight.rule.epochs_per_group is not None and weight.trains
        else weight
        for weight in weights
    ]


def _epoch(weight: PlannedWeight, depths: dict, levels: dict) -> int:
    rule = weight.rule
    own = sorted(levels[id(rule)], reverse=True)
    # As many layers in each group, as near as can be.
    count = min(rule.groups or len(own), len(own))
    group = own.index(depths[weight.path]) * count // len(own)
    return rule.train_from_epoch + group * rule.epochs_per_group
