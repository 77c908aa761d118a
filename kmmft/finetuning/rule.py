"""What happens to one group of a model's weights."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kmmft.finetuning.adapters.adapter import Adapter

_NOT_NEGATIVE = ("learning_rate_scale", "weight_decay", "l2", "l2_sp")
_OF_TRAINING = (
    "train_from_epoch",
    "train_from_step",
    "learning_rate_scale",
    "layer_decay",
    "learning_rate",
    "weight_decay",
    "l2",
    "l2_sp",
    "epochs_per_group",
    "adapter",
)


@dataclasses.dataclass(frozen=True, repr=False)
class Rule:
    """How the weights whose paths match a pattern are fine-tuned.

    Paths are those of `kmmft.finetuning.named_variables`. A rule may freeze weights,
    let them train later or slower, or pull them to zero or to where they started.
    Rates and decays of its own need `kmmft.training.AdamW` or `SGD`.

    Attributes:
        pattern: `fnmatch` pattern over the paths of weights: `*` is anything.
        train: Whether the weights train at all.
        train_from_epoch: Epoch, counted from 0, in which they begin. A layer whose
            weights are all frozen runs in inference mode until then.
        train_from_step: Number of the optimizer's steps after which they begin. May
            not be given together with `train_from_epoch`.
        epochs_per_group: Top down, one group of layers begins after the other, each so
            many epochs later; the topmost in `train_from_epoch`.
        groups: Number of such groups; `None` for as many as there are layers.
        learning_rate_scale: Factor on the rate.
        layer_decay: Further factor on the rate for each layer above; see
            `layer_depths`.
        learning_rate: A rate instead of the optimizer's: a number, or a Keras schedule
            of the steps since a weight began to train.
        weight_decay: Instead of the optimizer's. Weights that the optimizer excludes
            (`exclude_from_weight_decay`) have none.
        l2: Adds `l2 * ||weight||^2` to the loss.
        l2_sp: Adds `l2_sp * ||weight - start||^2` to the loss, where the start is the
            weight's value when the plan is applied.
        l2_sp_decoupled: Whether `l2_sp` is a decay beside the gradient instead: each
            step takes away `rate * l2_sp * (weight - start)`.
        fisher: Importance of each number of each weight, by path, a factor on its
            term of `l2_sp`.
        dropout_rate: Instead of the rates of the dropout layers whose paths match.
        batch_norm_frozen: Whether BatchNorm layers keep their statistics; their
            weights are frozen too.
        adapter: Freezes the weights and trains new ones, such as
            `kmmft.finetuning.LoRA()`. All else in the rule is then for these.

    Raises:
        ValueError: If a number is out of range, or options contradict each other.

    Example:
        >>> kmmft.finetuning.Rule("image_encoder/*", train_from_epoch=2, l2_sp=1e-3)
        Rule('image_encoder/*', train_from_epoch=2, l2_sp=0.001)

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1802.01483), eq. 2 and 3 (L2, L2-SP,
          there with a factor of 1/2) and 5 (with Fisher information).
    """

    pattern: str
    _: dataclasses.KW_ONLY
    train: bool = True
    train_from_epoch: int = 0
    train_from_step: int | None = None
    epochs_per_group: int | None = None
    groups: int | None = None
    learning_rate_scale: float = 1.0
    layer_decay: float | None = None
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | None = None
    weight_decay: float | None = None
    l2: float = 0.0
    l2_sp: float = 0.0
    l2_sp_decoupled: bool = False
    fisher: Mapping[str, np.ndarray] | None = dataclasses.field(
        default=None, compare=False
    )
    dropout_rate: float | None = None
    batch_norm_frozen: bool = False
    adapter: Adapter | None = None

    def __post_init__(self):
        self._check_numbers()
        self._check_contradictions()

    def _check_numbers(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise ValueError(
                "A rule's pattern must be a string such as 'image_encoder/*'. "
                f"Received: {self.pattern!r}."
            )
        for name in _NOT_NEGATIVE:
            _check(self, name, lambda value: value >= 0, "not be negative")
        _check(
            self,
            "learning_rate",
            lambda rate: callable(rate) or rate >= 0,
            "not be negative",
        )
        for name in ("train_from_epoch", "train_from_step"):
            _check(self, name, _is_count, "be a number of epochs or steps, 0 or more")
        for name in ("epochs_per_group", "groups"):
            _check(self, name, lambda x: _is_count(x) and x > 0, "be 1 or more")
        _check(self, "layer_decay", lambda x: 0 < x <= 1, "be in (0, 1]")
        _check(self, "dropout_rate", lambda x: 0 <= x < 1, "be in [0, 1)")

    def _check_contradictions(self) -> None:
        given = [name for name in _OF_TRAINING if name in self.given()]
        if not self.train and given:
            raise ValueError(
                f"A rule with train=False can have none of {list(_OF_TRAINING)}. "
                f"Received: {self}. Leave out {given}, or train=False."
            )
        by_epochs = self.train_from_epoch or self.epochs_per_group
        if self.train_from_step is not None and by_epochs:
            raise ValueError(
                "A rule can count epochs or steps, not both. "
                f"Received: {self}. Leave out one of them."
            )
        if self.groups is not None and self.epochs_per_group is None:
            raise ValueError(
                "`groups` begin one after the other. Received: no `epochs_per_group`. "
                "Add epochs_per_group=1."
            )
        if (self.l2_sp_decoupled or self.fisher is not None) and not self.l2_sp:
            raise ValueError(
                "`l2_sp_decoupled` and `fisher` need `l2_sp`. Received: l2_sp=0. Give "
                "its strength."
            )
        if self.l2_sp_decoupled and self.fisher is not None:
            raise ValueError(
                "`fisher` is for `l2_sp` in the loss. Received: l2_sp_decoupled=True. "
                "Leave out one of them."
            )

    def given(self) -> dict:
        """The options that differ from their defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)[1:]
            if getattr(self, field.name) is not field.default
            and getattr(self, field.name) != field.default
        }

    def __repr__(self) -> str:
        options = {**self.given()}
        if self.fisher is not None:
            options["fisher"] = f"<{len(self.fisher)} weights>"
        parts = [f"{name}={value!r}" for name, value in options.items()]
        return f"Rule({', '.join([repr(self.pattern), *parts])})"


def first_match(rules: Sequence[Rule], path: str) -> Rule | None:
    """The first rule whose pattern matches a path: the one that counts."""
    matching = (rule for rule in rules if fnmatch.fnmatchcase(path, rule.pattern))
    return next(matching, None)


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check(rule: Rule, name: str, is_right, must: str) -> None:
    value = getattr(rule, name)
    if value is not None and not is_right(value):
        raise ValueError(f"`{name}` must {must}. Received: {name}={value!r}.")
