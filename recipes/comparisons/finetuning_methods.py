"""The ways of fine-tuning that `compare_finetuning` compares.

A new one is a line in `METHODS`: its plan, and what it does beside.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

import kmmft
from kmmft import finetuning
from kmmft.data import Examples
from kmmft.finetuning import Plan, Rule, presets

if TYPE_CHECKING:
    from recipes.compare_finetuning import Config

logger = logging.getLogger(__name__)


def labelled_batches(
    config: "Config", train: Examples, unlabelled: Examples, seed: int
) -> tf.data.Dataset:
    return train.training_batches(config.batch_size, seed, image_changes(config))


def batches_with_unlabelled(
    config: "Config", train: Examples, unlabelled: Examples, seed: int
) -> tf.data.Dataset:
    """Beside the labelled ones, others as weakly and as strongly changed."""
    weak, operations = image_changes(config), kmmft.data.RandAugment()

    def strong(image, seed):
        # Another crop than the weak view's.
        seed = tf.random.experimental.stateless_fold_in(seed, 1)
        return operations(weak(image, seed), seed)

    return kmmft.data.add_unlabelled(
        labelled_batches(config, train, unlabelled, seed),
        unlabelled,
        ratio=config.unlabelled_ratio,
        weak=weak,
        strong=strong,
        batch_size=config.batch_size,
        seed=seed,
    )


def image_changes(config: "Config") -> kmmft.data.ImageAugmentation:
    return kmmft.data.ImageAugmentation(crop_area=(config.smallest_crop, 1.0))


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    Attributes:
        plan: Makes the plan, of the settings, the model and the training examples.
        options: Makes the train step's options, of the settings.
        halfway: Called with the model after half of the epochs; `finish` gets what it
            returns.
        finish: Called with the trained model, that, and a function that measures the
            validation accuracy of a model.
        batches: Makes the training batches, of the settings, the labelled examples,
            those without labels, and a seed.
        relabel: Makes the labelled examples of the second half, of the settings, the
            model after the first one, and both kinds of examples.
    """

    plan: Callable[..., Plan]
    options: Callable[..., list] = lambda config: []
    halfway: Callable | None = None
    finish: Callable | None = None
    batches: Callable[..., tf.data.Dataset] = labelled_batches
    relabel: Callable[..., Examples] | None = None

    def plan_for(
        self, config: "Config", model: kmmft.models.FusionClassifier, train: Examples
    ) -> Plan:
        """The plan by which it trains a model; the settings may freeze the texts'."""
        plan = self.plan(config, model, train)
        if config.train_text_encoder or "question" not in model.encoders:
            return plan
        frozen = Rule(f"{model.encoders['question'].name}/*", train=False)
        return Plan([frozen, *plan.rules])

    def fit(
        self,
        config: "Config",
        model: kmmft.models.FusionClassifier,
        train: Examples,
        unlabelled: Examples,
        *,
        learning_rate: float,
        seed: int,
        validate: Callable[[keras.Model], float],
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Trains the model this way, in as many steps as the settings tell."""
        follow_plan = self.plan_for(config, model, train).apply(model)
        model.step_options = self.options(config)
        model.compile(
            kmmft.training.adamw(
                learning_rate,
                total_steps=config.steps,
                weight_decay=config.weight_decay,
            )
        )
        half = config.epochs // 2
        for first, last in ((0, half), (half, config.epochs)):
            if first and self.halfway:
                state = self.halfway(model)
            if first and self.relabel:
                train = self.relabel(config, model, train, unlabelled)
            model.fit(
                self.batches(config, train, unlabelled, seed + first),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=config.steps // config.epochs,
                callbacks=[follow_plan, *callbacks],
                shuffle=False,
                verbose=0,
            )
        if self.finish:
            self.finish(model, state, validate)


# The encoders' BatchNorm keeps its statistics: those of few examples are worse.
FIXED = {"batch_norm_frozen": True}


def full(*_) -> Plan:
    return presets.full(**FIXED)


def lp_ft(config: "Config", *_) -> Plan:
    return presets.lp_ft(probe_epochs=config.epochs // 2, **FIXED)


def gradual_unfreezing(config: "Config", *_) -> Plan:
    return presets.gradual_unfreezing(groups=config.epochs - 1, **FIXED)


def l2_sp(config: "Config", *_, fisher: dict | None = None) -> Plan:
    return presets.l2_sp(
        config.strength, new_strength=config.strength, fisher=fisher, **FIXED
    )


def l2_sp_fisher(config: "Config", model: keras.Model, train: Examples) -> Plan:
    """Holds weights by how much they matter to what the fresh model would answer."""
    batches = train.training_batches(config.batch_size, config.seed)
    fisher = finetuning.estimate_fisher(model, batches, batches=4, normalize=True)
    return l2_sp(config, fisher=fisher)


def adapters(config: "Config", model: kmmft.models.FusionClassifier, *_) -> Plan:
    """Adapters in transformers, low ranks in the other encoders that train."""
    rules = [
        Rule(f"{encoder.name}/*", adapter=adapter_for(encoder), **FIXED)
        for name, encoder in model.encoders.items()
        if config.train_text_encoder or name != "question"
    ]
    return Plan([*rules, Rule("*")])


def adapter_for(encoder: keras.Model) -> finetuning.Bottleneck | finetuning.LoRA:
    layers = finetuning.named_layers(encoder).values()
    if any(isinstance(layer, keras.layers.MultiHeadAttention) for layer in layers):
        return finetuning.Bottleneck()
    return finetuning.LoRA()


def adversarial(config: "Config") -> list:
    # About 2 of 255 for each pixel.
    radius = 2 * config.image_size * 3**0.5
    return [finetuning.FGM(epsilon=radius, layers="image")]


def fix_match(config: "Config") -> list:
    return [finetuning.FixMatch(threshold=config.pseudo_label_threshold)]


def with_own_labels(
    config: "Config",
    model: keras.Model,
    train: Examples,
    unlabelled: Examples,
) -> Examples:
    """The labelled examples, and others with the class that the model is sure of."""
    logits = model.predict(unlabelled.inputs, batch_size=64, verbose=0)
    sure = unlabelled.sure_ones(
        keras.ops.convert_to_numpy(keras.ops.softmax(logits)),
        config.pseudo_label_threshold,
    )
    logger.info("The model labels %d of %d examples", len(sure), len(unlabelled))
    return train.with_others(sure)


def own_teacher(model: keras.Model) -> None:
    teacher = finetuning.starting_copy(model)
    model.step_options = [finetuning.SelfDistillation(teacher, temperature=2.0)]


def mix_with_probe(
    model: keras.Model,
    probed: dict[str, np.ndarray],
    validate: Callable[[keras.Model], float],
) -> None:
    """The best mean of the weights before and after the encoders trained."""
    finetuning.wise_ft(
        model,
        probed,
        lambda mixed: {"accuracy": validate(mixed)},
        choose="accuracy",
        alphas=np.linspace(0, 1, 6),
    )


METHODS: dict[str, Method] = {
    "full": Method(full),
    "linear_probe": Method(lambda *_: presets.linear_probe()),
    "lp_ft": Method(lp_ft),
    "gradual_unfreezing": Method(gradual_unfreezing),
    "layer_wise_decay": Method(lambda *_: presets.layer_wise_decay(**FIXED)),
    "l2": Method(lambda config, *_: presets.l2(config.strength, **FIXED)),
    "l2_sp": Method(l2_sp),
    "l2_sp_fisher": Method(l2_sp_fisher),
    "lora": Method(lambda *_: presets.lora(**FIXED)),
    "adapters": Method(adapters),
    # Where biases belong to BatchNorm it cannot be frozen.
    "bitfit": Method(lambda *_: presets.bitfit()),
    "adversarial": Method(full, options=adversarial),
    "wise_ft": Method(lp_ft, halfway=finetuning.weight_values, finish=mix_with_probe),
    "self_distillation": Method(lp_ft, halfway=own_teacher),
    "fix_match": Method(full, options=fix_match, batches=batches_with_unlabelled),
    "self_training": Method(full, relabel=with_own_labels),
}
