"""Mixed inputs, embeddings and losses, against NumPy with the share that was drawn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft.finetuning as ft
from kmmft.finetuning.mixup import _beta
from kmmft.training.step_options import MixedTargets
from tests.finetuning import step_option_cases as cases
from tests.models import contrastive_cases

# Each example has a class of its own, so that its partner can be told.
OWN_CLASS = np.arange(4)


def own_class_model(strategy=None):
    return cases.linear(4, strategy)


def test_steps_equal_numpy():
    model, spy = own_class_model(), cases.Spy()
    w, b = (v.astype("float64") for v in model.get_weights())
    x = (cases.X, OWN_CLASS)
    options = [spy, ft.Mixup(1.0)]
    logged = cases.fit(model, options, *x, loss=cases.softmax_loss(), eager=True)
    shares = []
    for value, (mixed, targets, _) in zip(logged, spy.batches, strict=True):
        share, partners = float(targets.share), targets.other_y.numpy()
        shares.append(share)
        assert sorted(partners) == [0, 1, 2, 3]
        expected = share * cases.X + (1 - share) * cases.X[partners]
        np.testing.assert_allclose(mixed, expected, atol=1e-6)

        def loss(w, b, x=expected, share=share, partners=partners):
            first = cases.cross_entropy(x @ w + b, OWN_CLASS)
            return share * first + (1 - share) * cases.cross_entropy(
                x @ w + b, partners
            )

        assert value == pytest.approx(loss(w, b), rel=1e-4)
        gradient_w = cases.numeric_gradient(lambda v, b=b, f=loss: f(v, b), w)
        gradient_b = cases.numeric_gradient(lambda v, w=w, f=loss: f(w, v), b)
        w, b = w - cases.RATE * gradient_w, b - cases.RATE * gradient_b
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-4)
    assert len(set(shares)) == 3
    assert min(shares) > 0
    assert max(shares) < 1


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):

    @tf.function
    def draw():
        numbers = tf.range(4000)
        return tf.map_fn(
            lambda i: _beta(alpha, tf.stack([i, 7])),
            numbers,
            fn_output_signature=tf.float32,
        )

    shares = draw().numpy()
    expected = np.random.default_rng(0).beta(alpha, alpha, 200_000)
    bounds = np.array([0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999])
    below = (shares[:, None] < bounds).mean(0)
    np.testing.assert_allclose(below, (expected[:, None] < bounds).mean(0), atol=0.03)


def text_model():
    ids = keras.Input((4,), dtype="int32", name="token_ids")
    mask = keras.Input((4,), dtype="bool", name="padding_mask")
    seen, seen_mask = cases.Seen(), cases.Seen(autocast=False)
    x = seen(keras.layers.Embedding(9, 5, name="token_embedding")(ids))
    real = seen_mask(keras.ops.cast(mask, "float32"))
    x = keras.ops.sum(x * real[..., None], axis=1)
    inputs = {"token_ids": ids, "padding_mask": mask}
    return cases.Model(inputs, keras.layers.Dense(4)(x)), seen, seen_mask


def test_texts_are_mixed_where_they_are_embedded():
    """As pixels are; padding counts as zeros, and the longer text's length stays."""
    model, seen, seen_mask = text_model()
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (4, 4))
    mask = np.arange(4) < np.array([4, 2, 3, 1])[:, None]
    table = model.get_layer("token_embedding").get_weights()[0]
    spy = cases.Spy()
    cases.fit(
        model,
        [spy, ft.Mixup(1.0)],
        {"token_ids": ids, "padding_mask": mask},
        OWN_CLASS,
        steps=1,
        loss=cases.softmax_loss(),
        eager=True,
    )
    targets = spy.batches[0][1]
    share, partners = float(targets.share), targets.other_y.numpy()
    vectors = table[ids] * mask[..., None]
    expected = share * vectors + (1 - share) * vectors[partners]
    np.testing.assert_allclose(seen.values[-1], expected, atol=1e-6)
    np.testing.assert_array_equal(seen_mask.values[-1], mask | mask[partners])


def test_cut_mix_puts_a_box_of_the_other_image():
    image = keras.Input((10, 12, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = cases.Model(image, keras.layers.Dense(4)(x))
    spy = cases.Spy()
    # A pixel's value tells whose it is.
    images = np.ones((4, 10, 12, 3), "float32") * OWN_CLASS[:, None, None, None]
    loss = cases.softmax_loss()
    options = [spy, ft.CutMix()]
    cases.fit(model, options, images, OWN_CLASS, steps=6, loss=loss, eager=True)
    areas = []
    for mixed, targets, _ in spy.batches:
        partners = targets.other_y.numpy()
        moved = np.flatnonzero(partners != OWN_CLASS)[0]
        box = mixed.numpy()[moved, ..., 0] == partners[moved]
        rows, columns = box.any(1), box.any(0)
        np.testing.assert_array_equal(box, rows[:, None] & columns)
        for side in (rows, columns):
            assert np.abs(np.diff(side.astype(int))).sum() <= 2
        assert float(targets.share) == pytest.approx(1 - box.mean(), abs=1e-6)
        expected = np.where(box, partners[:, None, None], OWN_CLASS[:, None, None])
        np.testing.assert_array_equal(mixed.numpy()[..., 2], expected)
        areas.append(box.mean())
    assert len(set(areas)) > 3


def test_weights_of_examples_go_with_their_labels():
    model = own_class_model()
    spy = cases.Spy()
    model.step_options = [spy, ft.Mixup(1.0)]
    model.compile(keras.optimizers.SGD(0.1), cases.softmax_loss(), run_eagerly=True)
    weights = np.array([0.5, 1.0, 2.0, 3.0], "float32")
    w, b = model.get_weights()
    loss = model.train_on_batch(cases.X, OWN_CLASS, sample_weight=weights)
    x, targets, _ = spy.batches[0]
    logs, partners = cases.log_softmax(x.numpy() @ w + b), targets.other_y.numpy()
    share = float(targets.share)
    each = share * weights * logs[OWN_CLASS, OWN_CLASS]
    each += (1 - share) * weights[partners] * logs[OWN_CLASS, partners]
    assert float(loss) == pytest.approx(-each.mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "option"), [("classifier", ft.CutMix), ("dual_encoder", ft.Mixup)]
)
def test_models_of_images_and_texts_train(kind, option, two_replicas):
    """Each replica mixes its own part; the same run comes again."""
    options = [option(1.0, layers=cases.TEXT)]
    losses, weights = cases.fit_kind(kind, options, strategy=two_replicas, steps=2)
    again, others = cases.fit_kind(kind, options, strategy=two_replicas, steps=2)
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    assert contrastive_cases.largest_difference(weights, others) < 1e-5
    other = cases.fit_kind(kind, [option(1.0, cases.TEXT, seed=1)], steps=1)[0]
    assert abs(other[0] - losses[0]) > 1e-4


def test_mixed_pairs_belong_together_in_a_dual_encoder():
    """The loss is InfoNCE of the mixed images' and the mixed texts' vectors."""
    model, spy = cases.dual_encoder(), cases.Spy()
    seen = []

    class Noting(cases.Spy):
        def wrap(self, model, forward):
            def run(batch, part=0):
                loss, vectors = forward(batch, part)
                seen.append((loss, vectors))
                return loss, vectors

            return run

    copy = ft.starting_copy(model)
    penalty = float(tf.add_n(model.losses))
    scale = float(model.logit_scale)
    pairs = contrastive_cases.batch()
    options = [spy, Noting(), ft.Mixup(1.0, layers=cases.TEXT)]
    logged = cases.fit(model, options, pairs, steps=1, eager=True)[0]
    _, vectors = seen[0]
    mixed = copy.towers["image"](spy.batches[0][0]["image"], training=False)
    np.testing.assert_allclose(vectors["image"], mixed, atol=1e-5)
    logits = scale * vectors["image"].numpy() @ vectors["text"].numpy().T
    own = np.arange(len(logits))
    expected = cases.cross_entropy(logits, own) + cases.cross_entropy(logits.T, own)
    assert logged == pytest.approx(expected / 2 + penalty, rel=1e-4)


def test_what_cannot_be_mixed_is_refused():
    negatives = contrastive_cases.batch(negatives=2)
    option = ft.Mixup(layers=cases.TEXT)
    with pytest.raises(ValueError, match="Hard negatives and a teacher's vectors"):
        cases.fit(cases.dual_encoder(), [option], negatives)
    with pytest.raises(ValueError, match="Examples can be mixed once"):
        cases.fit(own_class_model(), [ft.Mixup(), ft.Mixup()], cases.X, OWN_CLASS)
    with pytest.raises(ValueError, match="matches nothing"):
        cases.fit_kind("classifier", [ft.Mixup(layers="token_embeding")])
    with pytest.raises(ValueError, match="CutMix needs images of one size"):
        cases.fit(own_class_model(), [ft.CutMix()], cases.X, OWN_CLASS)
    with pytest.raises(ValueError, match="`alpha` must be positive"):
        ft.Mixup(0.0)


def test_mixed_targets_weigh_both_losses():
    """For a loss that is no cross-entropy, and labels that are no integers."""
    model = cases.linear()
    y = np.array([[1.0], [-1.0], [0.5], [2.0]], "float32")
    targets = MixedTargets(y, None, y[::-1], None, tf.constant(0.25))

    class Given(cases.Spy):
        def wrap(self, model, forward):
            return lambda batch, part=0: forward((batch[0], targets, None), part)

    w, b = model.get_weights()
    loss = cases.fit(model, [Given()], cases.X, y, steps=1, loss="mse")[0]
    answers = cases.X @ w + b
    expected = (
        0.25 * ((answers - y) ** 2).mean() + 0.75 * ((answers - y[::-1]) ** 2).mean()
    )
    assert loss == pytest.approx(expected, rel=1e-5)
