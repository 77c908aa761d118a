import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_hub import models

import kmmft

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(size=(4, 32, 32, 3)).astype("float32")
TEXTS = {
    "token_ids": RANDOM.integers(1, 50, (4, 6)),
    "segment_ids": np.zeros((4, 6), "int32"),
    "padding_mask": np.arange(6) < np.array([[6], [4], [3], [1]]),
}
SIZES = {
    "patch_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "image_shape": (32, 32, 3),
}


def vit(dtype="float32"):
    return models.ViTBackbone(
        (32, 32, 3), 16, 2, 2, 8, 16, 0.3, attention_dropout=0.2, dtype=dtype
    )


def bert(dtype="float32"):
    return models.BertBackbone(50, 2, 2, 8, 16, dropout=0.3, dtype=dtype)


def deit(dtype="float32"):
    return models.DeiTBackbone(**SIZES, dropout_rate=0.3, dtype=dtype)


def siglip(dtype="float32"):
    return models.SigLIPVisionEncoder(**SIZES, dtype=dtype)


CASES = {
    "vit": (vit, IMAGES, 2),
    "bert": (bert, TEXTS, 2),
    "deit": (deit, IMAGES, 2),
    "siglip": (siglip, {"images": IMAGES}, 3),  # the pooling head is a block too
}


def seeds_of(model):
    return [x for x in model.variables if x.name == "seed_generator_state"]


def loss_and_gradients(model, inputs):
    with tf.GradientTape() as tape:
        outputs = model(inputs, training=True)
        # Squares would tell nothing of outputs that a LayerNormalization made.
        loss = sum(
            tf.reduce_sum(tf.sin(3 * tf.cast(x, "float32")))
            for x in tf.nest.flatten(outputs)
        )
    weights = [weight.value for weight in model.trainable_variables]
    gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
    return loss, *map(tf.convert_to_tensor, gradients)


def seeded(function, model, seed=3):
    for state in seeds_of(model):
        state.assign([seed, 7])
    return function(model)


def assert_equal(results, expected):
    largest = max(np.abs(x).max() for x in expected[1:])
    np.testing.assert_allclose(results[0], expected[0], rtol=1e-6)
    for result, wanted in zip(results[1:], expected[1:], strict=True):
        np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_same_gradients_with_dropout(name, policy):
    # Eagerly: graphs fuse half precision operations, and round, differently.
    make, inputs, num_blocks = CASES[name]
    model = make(policy)

    def run(model):
        return loss_and_gradients(model, inputs)

    expected = seeded(run, model)
    states = [state.numpy() for state in seeds_of(model)]
    assert len(kmmft.training.rematerialise(model)) == num_blocks
    assert_equal(seeded(run, model), expected)
    # Each generator counted on as if the blocks had been computed once.
    for state, wanted in zip(seeds_of(model), states, strict=True):
        np.testing.assert_array_equal(state, wanted)
    if states:  # other masks give other gradients: the test can tell
        other = seeded(run, model, seed=4)
        assert abs(other[0] - expected[0]) > 1e-2


def test_same_fit():
    weights = []
    for again in (False, True):
        keras.utils.set_random_seed(0)
        encoder = kmmft.encoders.ImageEncoder(vit())
        if again:
            kmmft.training.rematerialise(encoder)
        pooled = encoder(encoder.input)["pooled"]
        model = keras.Model(encoder.input, keras.layers.Dense(1)(pooled))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(IMAGES, np.arange(4.0), batch_size=2, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_same_gradients_in_a_loop_of_micro_batches():
    # As in gradient caching and gradient accumulation.
    def run(model):
        images = tf.reshape(IMAGES, (2, 2, 32, 32, 3))

        def body(part, *totals):
            new = loss_and_gradients(model, images[part])
            return part + 1, *[a + b for a, b in zip(totals, new, strict=True)]

        @tf.function
        def sums():
            like = [tf.zeros(()), *map(tf.zeros_like, model.trainable_variables)]
            return tf.while_loop(lambda part, *_: part < 2, body, (0, *like))[1:]

        return sums()

    model = vit()
    expected = seeded(run, model)
    kmmft.training.rematerialise(model)
    assert_equal(seeded(run, model), expected)


def test_same_gradients_on_two_replicas(two_replicas):
    def run(model):
        @tf.function
        def step():
            return two_replicas.run(lambda: loss_and_gradients(model, IMAGES))

        return [two_replicas.experimental_local_results(x)[1] for x in step()]

    with two_replicas.scope():
        model = vit()
        expected = seeded(run, model)
        kmmft.training.rematerialise(model)
        assert_equal(seeded(run, model), expected)


@pytest.mark.parametrize("again", [False, True])
def test_activations_inside_a_block_are_let_go(again):
    model = vit()
    dropout = model.get_layer("vit_encoder").encoder_layers[0].mlp.dropout
    call, seen = dropout.call, []

    def watched(inputs, training=False):
        seen.append(weakref.ref(inputs))
        return call(inputs, training=training)

    dropout.call = watched
    if again:
        kmmft.training.rematerialise(model)
    with tf.GradientTape() as tape:
        outputs = model(IMAGES, training=True)
    gc.collect()
    # The MLP's hidden activations came first.
    assert (seen[0]() is None) is again
    tape.gradient(outputs, [x.value for x in model.trainable_variables])


def test_use_and_saving_are_as_before(tmp_path):
    model = vit()
    expected = model(IMAGES)
    kmmft.training.rematerialise(model)
    np.testing.assert_array_equal(model(IMAGES), expected)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(IMAGES), expected, atol=1e-6)


def test_twice_is_once_and_blocks_can_be_named():
    model = vit()
    block = model.get_layer("vit_encoder").encoder_layers[1]
    assert kmmft.training.rematerialise(model, [block]) == [block]
    call = block.call
    kmmft.training.rematerialise(model)
    assert block.call is call


def test_model_without_blocks():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="needs a built model with transformer"):
        kmmft.training.rematerialise(model)
