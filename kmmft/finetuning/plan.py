"""Fine-tuning as one plan: rules for groups of a model's weights."""

import dataclasses
import logging
from collections.abc import Sequence

import keras

from kmmft.finetuning.adapters.inserted_adapters import forget_graphs
from kmmft.finetuning.adapters.undone_insertion import undone
from kmmft.finetuning.applied_plan import AppliedPlan
from kmmft.finetuning.dropout_rates import check_dropout_rates, set_dropout_rates
from kmmft.finetuning.penalties import check_fisher, set_penalties
from kmmft.finetuning.planned_weights import PlannedWeight, plan_weights
from kmmft.finetuning.rule import Rule

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, repr=False)
class Plan:
    """Says for each weight of a model whether, when, how fast and how far it trains.

    The first rule that matches a weight's path counts. A plan alone decides what
    trains: what was frozen before trains if its rule says so.

    Attributes:
        rules: The rules, the special ones first.

    Raises:
        ValueError: If there are no rules.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, name="backbone"),
        ...     keras.layers.Dense(1, name="head"),
        ... ])
        >>> plan = kmmft.finetuning.Plan([
        ...     kmmft.finetuning.Rule("backbone/*", train_from_epoch=1, l2_sp=0.1),
        ...     kmmft.finetuning.Rule("*"),
        ... ])
        >>> finetuning = plan.apply(model)
        >>> model.compile(kmmft.training.AdamW(0.1), "mse")
        >>> x, y = np.ones((4, 2)), np.ones((4, 1))
        >>> history = model.fit(x, y, epochs=2, callbacks=[finetuning], verbose=0)

    References:
        - [Howard & Ruder, 2018](https://arxiv.org/abs/1801.06146), section 3.2
          (discriminative rates, gradual unfreezing).
        - [Li et al., 2018](https://arxiv.org/abs/1802.01483), eq. 3 (L2-SP).
    """

    rules: Sequence[Rule]

    def __post_init__(self):
        object.__setattr__(self, "rules", tuple(self.rules))
        if not self.rules:
            raise ValueError("A plan needs rules. Received: none. Add Rule('*').")

    def apply(self, model: keras.Model) -> AppliedPlan:
        """Sets a model up for training by the plan. Compile the model afterwards.

        Call it when the pretrained weights are loaded: these are where `l2_sp` pulls
        to. Adapters are inserted here. Layers that follow another model's plan already
        follow this one then: its penalties and rates replace those of the other.

        Args:
            model: Built model, changed in place.

        Returns:
            A callback for `fit`, which lets weights begin at their time. Models with
            `DistributedTraining`, as all of kmmft's, find it by themselves.

        Raises:
            ValueError: If the model has a plan, an average or no weights, a weight has
                no rule, a rule no weight, or nothing trains from the beginning. The
                model is as it was then.
        """
        # All that can be wrong is found before anything is changed for good.
        with undone(model, only_on_error=True):
            weights = self._planned(model)
        set_dropout_rates(model, self.rules)
        applied = AppliedPlan(model, weights, set_penalties(weights))
        # Graphs that were traced before know nothing of all this.
        forget_graphs(model)
        model.finetuning = applied
        logger.info("Fine-tuning %s:\n%s", model.name, applied.summary())
        return applied

    def check(self, model: keras.Model) -> None:
        """Raises what `apply` would raise; the model stays as it is.

        Args:
            model: Built model.

        Raises:
            ValueError: As `apply`.

        Example:
            >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            >>> kmmft.finetuning.presets.linear_probe("dens/*").check(model)
            Traceback (most recent call last):
              ...
            ValueError: A rule must match some weights. ...
        """
        with undone(model):
            self._planned(model)

    def _planned(self, model: keras.Model) -> list[PlannedWeight]:
        _check_free(model)
        weights = plan_weights(model, self.rules)
        check_fisher(weights)
        check_dropout_rates(model, self.rules)
        return weights

    def __repr__(self) -> str:
        lines = "".join(f"\n    {rule!r}," for rule in self.rules)
        return f"Plan([{lines}\n])"


def _check_free(model: keras.Model) -> None:
    present = getattr(model, "finetuning", None)
    if present is not None and not isinstance(present, AppliedPlan):
        raise ValueError(
            "A plan must be applied before there is a callback that keeps state in "
            f"the model. Received: a model with {type(present).__name__}, which "
            "knows nothing of the plan's weights. Build the model anew, apply the "
            "plan, and make the callback then."
        )
    if present is not None:
        raise ValueError(
            "A model can have one plan. Received: a model that has one already. "
            "Build it anew, or put the rules into one plan."
        )
