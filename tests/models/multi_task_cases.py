"""Tiny models of three tasks that share two encoders, and one batch of them."""

import collections

import keras
import keras_hub
import numpy as np
import tensorflow as tf

import kmmft
from tests.models import contrastive_cases

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
SIZES = {"tags": 4, "age": 8, "retrieval": 4}


def make_models(*names, dropout_rate=0.0):
    keras.utils.set_random_seed(3)
    image = contrastive_cases.image_encoder(dropout_rate)
    text = contrastive_cases.text_encoder()
    make = {
        "tags": lambda: kmmft.models.FusionClassifier(
            {"image": image}, None, ["red", "green", "blue"]
        ),
        "age": lambda: kmmft.models.FusionClassifier(
            {"image": image, "text": text},
            kmmft.layers.ConcatFusion(hidden_dim=5),
            ["years"],
            task="regression",
        ),
        "retrieval": lambda: kmmft.models.DualEncoder(
            {"image": image, "text": text}, projection_dim=5, logit_scale=5.0
        ),
        "writing": lambda: kmmft.models.FusionGenerator(
            {"image": image},
            kmmft.models.CrossAttentionDecoder(len(WORDS), 8, 1, 2, max_length=5),
            keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
            max_length=5,
        ),
    }
    return {name: make[name]() for name in names or SIZES}


def make_model(*names, dropout_rate=0.0, **options):
    models = make_models(*names, dropout_rate=dropout_rate)
    return kmmft.models.MultiTask(models, **options)


def batch(*names):
    rng = np.random.default_rng(0)
    parts = {}
    for name in SIZES:
        size = SIZES[name]
        inputs = contrastive_cases.batch(size, seed=size)
        if name == "tags":
            parts[name] = {"image": inputs["image"]}, rng.integers(0, 3, size)
        elif name == "age":
            parts[name] = inputs, rng.normal(2.0, 1.0, (size, 1)).astype("float32")
        else:
            parts[name] = inputs, np.arange(size) // 2
    return {name: parts[name] for name in names or parts}


def train(strategy=None, *, names=(), steps=3, optimizer=None, prepare=None, **options):
    """Trains on one batch; returns model, history by step, and trained weights."""
    with (strategy or tf.distribute.get_strategy()).scope():
        model = make_model(*names, **options)
        if prepare:
            prepare(model)
        model.compile(optimizer or kmmft.training.SGD(0.05, momentum=0.9))
    data = tf.data.Dataset.from_tensors(batch(*names)).repeat(steps)
    history = model.fit(data, steps_per_epoch=1, epochs=steps, verbose=0).history
    return model, history, [v.numpy() for v in model.trainable_variables]


def supervised_loss(task, part):
    """The loss of a classifier's or a regression's part of a batch, by Keras."""
    inputs, target = part
    outputs = task(inputs, training=True)
    if task.task == "regression":
        return tf.reduce_mean(tf.square(outputs - target))
    losses = keras.losses.sparse_categorical_crossentropy(
        target, outputs, from_logits=True
    )
    return tf.reduce_mean(losses)


def penalty_of(model):
    """The only penalty in the models: `L2(0.1)` on the image encoder's last layer."""
    (kernel,) = (v for v in model.trainable_variables if v.regularizer is not None)
    return kernel, 0.1 * tf.reduce_sum(tf.square(kernel))


def task_gradients(model, names, parts):
    """Losses of the tasks, and by task its gradients by weight, without penalties."""
    losses, gradients = [], []
    for name in names:
        variables = model.tasks[name].trainable_variables
        with tf.GradientTape() as tape:
            loss = supervised_loss(model.tasks[name], parts[name])
        losses.append(float(loss))
        found = tape.gradient(loss, variables, unconnected_gradients="zero")
        arrays = [tf.convert_to_tensor(g).numpy() for g in found]
        keys = [id(v) for v in variables]
        gradients.append(dict(zip(keys, arrays, strict=True)))
    return np.array(losses), gradients


def add_up(gradients, factors):
    """The weighted sum, by weight."""
    total = collections.defaultdict(float)
    for own, factor in zip(gradients, factors, strict=True):
        for key, gradient in own.items():
            total[key] = total[key] + factor * gradient
    return total


def reference(names, steps, factors_of, observe=None, combine=add_up):
    """What `train` does for tasks that are no contrast, by tapes and NumPy.

    Args:
        names: The tasks.
        steps: Number of steps.
        factors_of: Gives the losses' factors before each step.
        observe: Gets losses, gradients and the shared weights' ids after each step.
        combine: Makes one gradient a weight of the tasks' gradients and factors.

    Returns:
        The logged losses but for what learned weights add, and the trained weights.
    """
    model, parts = make_model(*names), batch(*names)
    kernel = penalty_of(model)[0]
    velocity, logs = collections.defaultdict(float), []
    for _ in range(steps):
        losses, gradients = task_gradients(model, names, parts)
        factors = factors_of()
        logs.append(factors @ losses + float(penalty_of(model)[1]))
        total = combine(gradients, factors)
        total[id(kernel)] = total[id(kernel)] + 0.2 * kernel.numpy()
        for weight in model.trainable_variables:
            change = 0.9 * velocity[id(weight)] - 0.05 * total[id(weight)]
            velocity[id(weight)] = change
            weight.assign_add(change)
        if observe:
            observe(losses, gradients)
    return np.array(logs), [v.numpy() for v in model.trainable_variables]
