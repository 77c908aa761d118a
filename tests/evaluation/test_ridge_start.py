import numpy as np
import pytest

import kmmft
from kmmft.metrics import two_way_retrieval
from tests.models import contrastive_cases as cases


def model_with_heads(**options):
    heads = {
        modality: kmmft.layers.ProjectionHead(7, name=f"{modality}_head", **options)
        for modality in ("image", "text")
    }
    return cases.dual_encoder(projection_dim=None, projections=heads)


def vectors(model, size, seed):
    inputs = cases.batch(size, seed=seed)
    images = model.encoders["image"](inputs["image"])["pooled"].numpy()
    texts = model.encoders["text"](model.select("text", inputs))["pooled"].numpy()
    # Texts that images tell something about.
    texts = texts + images @ np.random.default_rng(0).normal(size=(6, 7))
    return kmmft.evaluation.PairedVectors(images, texts, np.arange(size))


def test_heads_do_what_the_regression_does():
    """Applied to the same vectors, they find what the function says they find."""
    model = model_with_heads()
    train, validation = vectors(model, 64, 0), vectors(model, 32, 1)
    before = two_way_retrieval(
        model.projections["image"](validation.images).numpy(),
        model.projections["text"](validation.texts).numpy(),
        validation.image_of_text,
    )["mean_recall"]
    recall = kmmft.evaluation.start_from_ridge(model, train, validation)
    kernel, bias = model.projections["text"].output_projection.get_weights()
    np.testing.assert_array_equal(kernel, np.eye(7))
    lengths = np.linalg.norm(train.texts, axis=1)
    unit = train.texts / lengths[:, None]
    np.testing.assert_allclose(bias, -unit.mean(axis=0) * lengths.mean(), rtol=1e-5)
    after = two_way_retrieval(
        model.projections["image"](validation.images).numpy(),
        # The head takes lengths as they are, on average that of the training texts.
        unit_texts(validation.texts) - unit.mean(axis=0),
        validation.image_of_text,
    )["mean_recall"]
    assert after == pytest.approx(recall)
    assert recall > before + 0.1


def unit_texts(texts):
    return texts / np.linalg.norm(texts, axis=1, keepdims=True)


@pytest.mark.parametrize("options", [{"hidden_dims": (3,)}, {"use_bias": False}])
def test_other_heads_are_refused(options):
    model = model_with_heads(**options)
    with pytest.raises(ValueError, match="linear heads with bias, 7 wide"):
        kmmft.evaluation.start_from_ridge(
            model, vectors(model, 8, 0), vectors(model, 8, 1)
        )


def test_frozen_batch_norm_keeps_its_statistics():
    model = cases.dual_encoder(batch_norm=True)
    (layer,) = kmmft.encoders.freeze_batch_norm(model.encoders["image"])
    before = [value.numpy() for value in layer.variables]
    trained = [v.numpy() for v in model.trainable_variables]
    model.compile("sgd")
    model.fit(cases.tf.data.Dataset.from_tensors(cases.batch()), verbose=0)
    for old, new in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    after = [v.numpy() for v in model.trainable_variables]
    assert cases.largest_difference(after, trained) > 0
