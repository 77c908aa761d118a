"""Tiny towers, and one training of them under every loss and way of computing."""

import keras
import numpy as np
import tensorflow as tf

import kmmft

losses = kmmft.losses
LOSSES = {
    "info_nce": losses.InfoNCE,
    "info_nce_smoothed": lambda: losses.InfoNCE(label_smoothing=0.1),
    "info_nce_ignoring": lambda: losses.InfoNCE(same_group="ignore"),
    "info_nce_chunked": lambda: losses.InfoNCE(chunk_size=2),
    "siglip": lambda: losses.SigLIP(chunk_size=2),
    "similarity_discrimination": lambda: losses.SimilarityDiscrimination(
        keras.optimizers.schedules.PolynomialDecay(0.9, 4, 0.1)
    ),
    "triplet_hardest": lambda: losses.Triplet(negatives="hardest"),
    "triplet_semi_hard": lambda: losses.Triplet(negatives="semi_hard"),
    "triplet_all": lambda: losses.Triplet(negatives="all"),
    "supervised": losses.SupervisedContrastive,
    "matryoshka": lambda: losses.Matryoshka(losses.InfoNCE(), dims=(2, 5)),
    "distillation": lambda: losses.Distillation(losses.InfoNCE(), weight=0.5),
}


class Together(losses.ContrastiveLoss):
    """The sum of all losses of rows, so that one training compares them all.

    Left out are those that the model treats otherwise: symmetric and joint ones.
    """

    def __init__(self):
        super().__init__()
        made = [make() for make in LOSSES.values()]
        self.losses = [one for one in made if not one.symmetric and not one.joint]

    def directed(self, queries, candidates, **kwargs):
        return sum(one.directed(queries, candidates, **kwargs) for one in self.losses)


BATCH = 8
GROUPS = np.array([0, 1, 2, 2, 3, 4, 0, 5])


def image_encoder(dropout_rate=0.0, batch_norm=False):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 4, strides=4)(image)
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Dropout(dropout_rate)(keras.layers.ReLU()(x))
    x = keras.layers.Dense(6, kernel_regularizer=keras.regularizers.L2(0.1))(x)
    return kmmft.encoders.ImageEncoder(keras.Model(image, x), image_size=8)


def text_encoder():
    token_ids = keras.Input((4,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(20, 7)(token_ids)
    backbone = keras.Model({"token_ids": token_ids}, x)
    return kmmft.encoders.TextEncoder(backbone, None, sequence_length=4)


def dual_encoder(dropout_rate=0.0, batch_norm=False, **kwargs):
    keras.utils.set_random_seed(3)
    encoders = {
        "image": image_encoder(dropout_rate, batch_norm),
        "text": text_encoder(),
    }
    options = {"projection_dim": 5, "logit_bias": -2.0, "logit_scale": 5.0}
    return kmmft.models.DualEncoder(encoders, **options | kwargs)


def batch(size=BATCH, negatives=0, teacher=False, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {
        "image": rng.uniform(0, 255, (size, 8, 8, 3)).astype("float32"),
        "token_ids": rng.integers(0, 20, (size, 4)).astype("int32"),
        "padding_mask": rng.uniform(size=(size, 4)) < 0.8,
    }
    inputs["padding_mask"][:, 0] = True
    if negatives:
        ids = rng.integers(0, 20, (size, negatives, 4)).astype("int32")
        inputs["negative_token_ids"] = ids
        inputs["negative_padding_mask"] = np.ones(ids.shape, bool)
    if teacher:
        for modality in ("image", "text"):
            vectors = rng.normal(size=(size, 3)).astype("float32")
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            inputs[f"teacher_{modality}"] = vectors
    return inputs


def train(
    strategy=None,
    loss=None,
    *,
    groups=GROUPS,
    inputs=None,
    steps=2,
    optimizer=None,
    **model_options,
):
    """Trains the toy on one batch; returns model, losses of the steps, weights."""
    inputs = batch() if inputs is None else inputs
    data = inputs if groups is None else (inputs, groups)
    dataset = tf.data.Dataset.from_tensors(data).repeat(steps)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = dual_encoder(**model_options)
        optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)
        if keras.config.dtype_policy().name == "mixed_float16":
            # Keras' first scale overflows here, and the step would be left out.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 64)
        model.compile(optimizer, loss)
    history = model.fit(dataset, steps_per_epoch=1, epochs=steps, verbose=0)
    weights = [variable.numpy() for variable in model.trainable_variables]
    return model, history.history["loss"], weights


def largest_difference(weights, others) -> float:
    pairs = zip(weights, others, strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)
