"""What is refused since it would not be used, and batches of unusual form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.training import micro_batches
from tests.models import contrastive_cases as cases
from tests.models.test_dual_encoder import make_model
from tests.models.test_fusion_classifier import png


def compiled(loss=None, **options):
    model = cases.dual_encoder(**options)
    model.compile(keras.optimizers.SGD(0.05), loss)
    return model


def without(key):
    inputs = cases.batch(negatives=2)
    del inputs[key]
    return inputs


def ones(length):
    return np.ones(length, "float32")


STRANGE = {
    "must be a dict with": (without("token_ids"), cases.GROUPS),
    "`\\(batch,\\)`.*float32": (cases.batch(), cases.GROUPS.astype("float32")),
    "`\\(batch,\\)`.*string": (cases.batch(), np.array(list("abcdefgh"))),
    "of shape \\(8, 2\\)": (cases.batch(), np.zeros((8, 2), int)),
    "no weights of examples": (cases.batch(), cases.GROUPS, ones(8)),
    r"\['negative_token_ids'\] alone": (without("negative_padding_mask"),),
    r"Received: \['teacher_picture'\]": (cases.batch() | {"teacher_picture": ones(8)},),
}


@pytest.mark.parametrize("way", ["fit", "evaluate"])
@pytest.mark.parametrize("rule", STRANGE)
def test_what_would_not_be_used_is_refused(rule, way):
    data = tf.data.Dataset.from_tensors(STRANGE[rule])
    with pytest.raises(ValueError, match=rule):
        getattr(compiled(), way)(data, verbose=0)


def test_class_weights_are_refused():
    with pytest.raises(ValueError, match="no weights of examples"):
        compiled().fit(
            cases.batch(), cases.GROUPS, class_weight=dict.fromkeys(range(6), 1.0)
        )


@pytest.mark.parametrize("option", ["metrics", "weighted_metrics", "loss_weights"])
def test_metrics_are_refused(option):
    with pytest.raises(ValueError, match=f"no metrics of batches.*{option}"):
        cases.dual_encoder().compile("sgd", **{option: ["mae"]})


def test_teacher_must_be_given():
    loss = kmmft.losses.Distillation(kmmft.losses.InfoNCE())
    with pytest.raises(ValueError, match="teacher_<modality>"):
        compiled(loss).fit(tf.data.Dataset.from_tensors(cases.batch()), verbose=0)


def test_epochs_loss_weighs_batches_by_their_size():
    model = compiled()
    first, second = cases.batch(6, seed=1), cases.batch(2, seed=2)
    a, b = (
        model.evaluate(tf.data.Dataset.from_tensors(part), verbose=0)[0]
        for part in (first, second)
    )
    whole = {key: np.concatenate([first[key], second[key]]) for key in first}
    together = model.evaluate(whole, batch_size=6, verbose=0)[0]
    assert together == pytest.approx(0.75 * a + 0.25 * b, rel=1e-5)
    assert abs(a - b) > 0.1


def test_one_direction_is_enough_for_a_symmetric_loss(monkeypatch):
    loss, weights = cases.train(loss=kmmft.losses.SigLIP())[1:]
    monkeypatch.setattr(kmmft.losses.SigLIP, "symmetric", False)
    other_loss, other_weights = cases.train(loss=kmmft.losses.SigLIP())[1:]
    np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
    assert cases.largest_difference(weights, other_weights) < 1e-5


def test_a_symmetric_loss_with_hard_negatives_needs_both_directions():
    """Only images are compared with the hard texts; by hand, from the vectors."""
    inputs = cases.batch(negatives=2)
    model = compiled(kmmft.losses.SigLIP())
    loss = model.evaluate(tf.data.Dataset.from_tensors(inputs), verbose=0)[0]
    image, text = (model(inputs)[key].numpy() for key in ("image", "text"))
    hard = [
        inputs[f"negative_{x}"].reshape(16, 4) for x in ("token_ids", "padding_mask")
    ]
    hard = model.towers["text"](
        dict(zip(("token_ids", "padding_mask"), hard, strict=True))
    )
    signs = np.where(np.eye(8), -1, 1)
    pairs = np.log1p(np.exp(signs * (5 * image @ text.T - 2))).sum()
    extra = np.log1p(np.exp(5 * image @ hard.numpy().T - 2)).sum()
    expected = (pairs + extra / 2) / 8 + float(sum(model.losses))
    assert loss == pytest.approx(expected, rel=1e-5)


class Adding(keras.layers.Dense):
    def call(self, inputs):
        outputs = super().call(inputs)
        self.add_loss(100 * keras.ops.mean(outputs))
        return outputs


class Nothing(kmmft.losses.ContrastiveLoss):
    def rows(self, similarity, positive, valid, **kwargs):
        return tf.reduce_sum(0 * similarity, axis=1)


def layer_weights(model):
    return [
        variable.regularizer(variable)
        for variable in model.trainable_variables
        if variable.regularizer is not None
    ]


@pytest.mark.parametrize("micro_batch_size", [None, 4])
def test_losses_that_layers_add_count_with_hard_negatives(micro_batch_size):
    head = {
        "image": kmmft.layers.ProjectionHead(5, name="image_head"),
        "text": Adding(5, name="text_head"),
    }
    options = {"projection_dim": None, "projections": head}
    model = compiled(**options, micro_batch_size=micro_batch_size)
    model.loss_function = Nothing()
    inputs = cases.batch(negatives=1)
    flat = {
        key: np.concatenate([inputs[key], inputs[f"negative_{key}"][:, 0]])
        for key in ("token_ids", "padding_mask")
    }
    text = model.encoders["text"](flat)["pooled"]
    expected = 100 * float(tf.reduce_mean(head["text"](text)))
    expected += float(sum(layer_weights(model)))
    logs = model.fit(tf.data.Dataset.from_tensors(inputs), verbose=0).history
    assert logs["loss"][0] == pytest.approx(expected, abs=1e-5)


def test_losses_that_layers_add_may_be_float16():
    keras.config.set_dtype_policy("mixed_float16")
    heads = {
        "image": kmmft.layers.ProjectionHead(5, name="image_head"),
        "text": keras.layers.Dense(5, activity_regularizer="l2", name="text_head"),
    }
    for size in (None, 4):
        model = compiled(projection_dim=None, projections=heads, micro_batch_size=size)
        logs = model.fit(tf.data.Dataset.from_tensors(cases.batch()), verbose=0).history
        assert np.isfinite(logs["loss"][0])


@pytest.mark.parametrize("known", [True, False])
def test_cached_gradients_compiled_by_xla(known):
    data = tf.data.Dataset.from_tensor_slices((cases.batch(), cases.GROUPS))
    data = data.batch(8, drop_remainder=known)
    results = []
    for jit_compile in (False, True):
        model = cases.dual_encoder(micro_batch_size=2)
        loss = kmmft.losses.InfoNCE(chunk_size=3)
        model.compile(keras.optimizers.SGD(0.05), loss, jit_compile=jit_compile)
        history = model.fit(data, epochs=2, verbose=0).history
        weights = [v.numpy() for v in model.trainable_variables]
        results.append((history["loss"], weights))
    (loss, weights), (other_loss, other_weights) = results
    np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
    assert cases.largest_difference(other_weights, weights) < 1e-5


def test_micro_batch_size_must_divide_a_batch_of_unknown_size():
    data = tf.data.Dataset.from_tensor_slices(cases.batch()).batch(8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="micro_batch_size=3"):
        compiled(micro_batch_size=3).fit(data, verbose=0)


def test_micro_batches_of_inputs_of_unknown_length():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 2])])
    def parts_of(x):
        parts, number = micro_batches.split({"x": x}, 2)
        assert parts["x"].shape.as_list() == [None, 2, None, 2]
        return parts["x"], number

    x = np.arange(24.0, dtype="float32").reshape(4, 3, 2)
    parts, number = parts_of(x)
    np.testing.assert_array_equal(parts, x.reshape(2, 2, 3, 2))
    assert number == 2


def test_decoded_and_encoded_hard_negatives_are_one():
    model = make_model()
    raw = tf.constant([[png(3), png(9)], [png(90), png(200)], [png(7), png(8)]])
    decoded = model.encoders["image"].preprocess(tf.reshape(raw, [-1]))
    batch = {"image": tf.zeros((3, 16, 16, 3)), "text": tf.constant(["red"] * 3)}
    results = [
        model.prepare_batch({**batch, "negative_image": negatives})["negative_image"]
        for negatives in (raw, tf.reshape(decoded, (3, 2, 16, 16, 3)))
    ]
    np.testing.assert_array_equal(*results)
    assert results[0].shape == (3, 2, 16, 16, 3)


def test_number_of_hard_negatives_must_be_known():
    model = make_model()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string)])
    def prepare(negatives):
        batch = {"image": tf.zeros((3, 16, 16, 3)), "text": tf.constant(["red"] * 3)}
        return model.prepare_batch({**batch, "negative_text": negatives})

    with pytest.raises(ValueError, match="one known number of hard negatives"):
        prepare(tf.constant([["red"]] * 3))


@pytest.mark.parametrize("raw", ["what color", b"what color"])
def test_one_string_is_no_list(raw):
    with pytest.raises(ValueError, match="Put it into a list"):
        make_model().encode_text(raw)


def test_vectors_follow_a_layer_that_was_changed_before_compile():
    model = make_model()
    before = model.encode_text(["red"])
    head = model.projections["text"].output_projection
    head.enable_lora(2)
    head.lora_kernel_b.assign(np.ones(head.lora_kernel_b.shape))
    model.compile("sgd")
    assert np.abs(model.encode_text(["red"]) - before).max() > 1e-2
