import itertools

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.training.killed_runs import KillAt, Killed

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype("float32")


def make_model(**compiled):
    keras.utils.set_random_seed(0)
    model = kmmft.models.ImageTokenizer(
        8, num_codes=6, code_dim=2, widths=(4, 4), blocks=0, discriminator_widths=(4,)
    )
    compiled = {"adversarial_weight": 0.5, **compiled}
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), **compiled)
    return model


def numbers(model):
    return [variable.numpy() for variable in model.weights]


@pytest.fixture(scope="module")
def trained():
    """A model after three steps on one device, and its logs."""
    model = make_model()
    history = model.fit(
        IMAGES, batch_size=8, epochs=3, shuffle=False, verbose=0, validation_data=IMAGES
    )
    return model, history.history


def test_replicas_train_as_one_device(trained, two_replicas):
    with two_replicas.scope():
        model = make_model()
    history = model.fit(IMAGES, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for there, here in zip(numbers(model), numbers(trained[0]), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-5)
    for name in ("loss", "l1", "discriminator"):
        np.testing.assert_allclose(
            history.history[name], trained[1][name], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains_as_whole_precision(trained, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy("float32")
    history = model.fit(IMAGES, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for name in ("l1", "adversarial", "discriminator"):
        expected = trained[1][name]
        np.testing.assert_allclose(history.history[name], expected, atol=5e-3)
    codebook = model.codebook
    assert {w.dtype for w in codebook.weights} == {codebook.lookup([0]).dtype.name}
    assert len(np.unique(model.encode(IMAGES))) > 2


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    """Codes, their averages and the discriminator with its optimizer go on, too."""

    def batches(step):
        return tf.data.Dataset.range(step, 99).map(
            lambda index: tf.random.stateless_uniform((4, 8, 8, 3), (1, index), 0, 255)
        )

    def fit(folder, *callbacks):
        keras.utils.set_random_seed(1)
        model = make_model(adversarial_start=1)
        config = kmmft.training.RecipeConfig()
        with kmmft.training.RunDirectory(folder, config) as run:
            kmmft.training.resumable_fit(
                model,
                batches,
                run=run,
                steps_per_epoch=2,
                epochs=3,
                validation_data=batches(90).take(1),
                monitor="val_loss",
                callbacks=callbacks,
                checkpoint_every_seconds=0.0,
                verbose=0,
            )
        return numbers(model), run.history()

    expected, history = fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "killed", KillAt(3))
    found, again = fit(tmp_path / "killed")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("val_l1", "discriminator", "adversarial"):
        assert [row[name] for row in again] == [row[name] for row in history]


def test_codes_and_drawing_belong_together(trained):
    model, _ = trained
    outputs = model(IMAGES, training=False)
    ids = model.encode(IMAGES, batch_size=3)
    np.testing.assert_array_equal(ids, outputs["token_ids"])
    drawn = model.decode(ids, batch_size=3)
    expected = np.clip(outputs["image"], 0, 255)
    assert drawn.dtype == np.uint8
    np.testing.assert_allclose(drawn, expected, atol=0.51)


def test_validation_loss_is_that_of_the_images(trained):
    model, history = trained
    outputs = model(IMAGES, training=False)
    l1 = np.abs(IMAGES - outputs["image"]).mean() / 127.5
    np.testing.assert_allclose(history["val_l1"][-1], l1, rtol=1e-4)
    codes = model.codebook.codes.numpy()[np.asarray(outputs["token_ids"])]
    away = np.asarray(outputs["vectors"]).reshape(codes.shape) - codes
    expected = l1 + 0.25 * (away**2).mean()
    np.testing.assert_allclose(history["val_loss"][-1], expected, rtol=1e-4)


def test_discriminator_waits_for_its_start():
    waiting = make_model(adversarial_start=2, run_eagerly=True)
    before = [v.numpy() for v in waiting.discriminator.trainable_variables]
    waiting.fit(IMAGES, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for old, new in zip(before, waiting.discriminator.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    waiting.fit(IMAGES, batch_size=8, shuffle=False, verbose=0)
    moved = zip(before, waiting.discriminator.trainable_variables, strict=True)
    assert any((old != new.numpy()).any() for old, new in moved)


def test_one_step_is_the_sum_of_its_losses():
    """A step's gradient against that of the whole loss, written out again."""
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0), commitment_weight=0.3, run_eagerly=True)
    model.codebook.trainable = False
    old = {v.path: v.numpy() for v in model.trainable_variables}
    codes = model.codebook.codes.numpy()
    last = model.drawing.get_layer("pixels").kernel.value
    image = tf.constant(IMAGES)
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(image, training=True)
        drawn = outputs["image"] / 127.5 - 1
        l1 = tf.reduce_mean(tf.abs(image / 127.5 - 1 - drawn))
        chosen = tf.reshape(tf.gather(codes, outputs["token_ids"]), (8, 2, 2, 2))
        commitment = tf.reduce_mean((outputs["vectors"] - chosen) ** 2)
        fooled = -tf.reduce_mean(model.discriminator(drawn))
        real = model.discriminator(image / 127.5 - 1)
        fake = model.discriminator(tf.stop_gradient(drawn))
        hinge = tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(
            tf.nn.relu(1 + fake)
        )
        with tape.stop_recording():
            factor = tf.norm(tape.gradient(l1, last))
            factor /= tf.norm(tape.gradient(fooled, last)) + 1e-4
        generator = l1 + 0.3 * commitment + 0.1 * factor * fooled
        judge = hinge / 2
    expected = {}
    critics = {v.path for v in model.discriminator.trainable_variables}
    for variable in model.trainable_variables:
        loss = judge if variable.path in critics else generator
        expected[variable.path] = old[variable.path] - tape.gradient(
            loss, variable.value
        )
    model.fit(IMAGES, batch_size=8, shuffle=False, verbose=0)
    for variable in model.trainable_variables:
        np.testing.assert_allclose(
            variable.numpy(), expected[variable.path], atol=1e-5, err_msg=variable.path
        )


def test_perceptual_distance_by_hand():
    backbone = keras_hub.models.ViTBackbone((8, 8, 3), 4, 1, 2, 8, 16)
    encoder = kmmft.encoders.ImageEncoder(backbone)
    distance = kmmft.models.PerceptualDistance(encoder)
    other = IMAGES[::-1].copy()
    a, b = (np.asarray(encoder(x)["tokens"]) for x in (IMAGES, other))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    expected = ((a - b) ** 2).sum(-1).mean(1)
    np.testing.assert_allclose(distance(IMAGES, other), expected, rtol=1e-4)
    model = make_model(perceptual=distance, run_eagerly=True)
    before = [v.numpy() for v in encoder.weights]
    model.fit(IMAGES, batch_size=8, verbose=0)
    for old, new in zip(before, encoder.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_saved_and_loaded(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "tokenizer.keras")
    loaded = keras.saving.load_model(tmp_path / "tokenizer.keras")
    np.testing.assert_array_equal(loaded.encode(IMAGES), model.encode(IMAGES))
    np.testing.assert_allclose(
        loaded(IMAGES)["image"], model(IMAGES)["image"], rtol=1e-5
    )


@pytest.mark.parametrize("size", [7, (8, 12), 2])
def test_size_must_divide(size):
    with pytest.raises(ValueError, match="Received: image_size="):
        kmmft.models.ImageTokenizer(size, widths=(4, 4, 4))


def test_only_its_own_losses_and_whole_batches():
    model = make_model()
    with pytest.raises(ValueError, match="Received: loss='mse'"):
        model.compile("sgd", loss="mse")
    model.micro_batch_size = 4
    with pytest.raises(ValueError, match="micro_batch_size=4"):
        model.fit(IMAGES, batch_size=8, verbose=0)


def test_colours_outlive_the_codes():
    random = np.random.default_rng(0)
    colors = np.array(list(itertools.product((0, 200), repeat=3)), "float32")
    wanted = np.arange(64) % 8
    corners = random.integers(0, 9, (64, 2))
    images = np.full((64, 16, 16, 3), 235, "float32")
    images += random.integers(-20, 21, (64, 1, 1, 3))
    for image, color, (top, left) in zip(images, wanted, corners, strict=True):
        image[top : top + 8, left : left + 8] = colors[color]
    keras.utils.set_random_seed(0)
    model = kmmft.models.ImageTokenizer(16, 32, 4, widths=(16, 16), blocks=0)
    model.compile(keras.optimizers.Adam(4e-3), adversarial_weight=0.0)
    model.fit(images, batch_size=16, epochs=40, verbose=0)
    redrawn = model.decode(model.encode(images)).astype("float32")
    rows, columns = corners.T + 4
    middle = redrawn[np.arange(64), rows, columns]
    found = np.abs(middle[:, None] - colors).sum(-1).argmin(-1)
    assert (found == wanted).mean() > 0.9
