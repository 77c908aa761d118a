"""Training by scores of pairs, on one device and two, and what they are used for."""

import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.export import parity
from kmmft.models import tight_video_text
from tests.export.test_export_model import answers_here
from tests.layers import references
from tests.models.contrastive_cases import image_encoder, largest_difference
from tests.models.contrastive_cases import text_encoder as text_encoder_without_words

FRAMES = 3
GROUPS = np.array([0, 1, 2, 2, 3, 0])
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "up", "down", "left"]


def text_encoder():
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    vectors = keras.layers.Embedding(len(WORDS), 7)(token_ids)
    return kmmft.encoders.TextEncoder(
        keras.Model({"token_ids": token_ids}, vectors),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length=4,
        pooling="mean",
    )


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def tight(text=text_encoder_without_words, dropout_rate=0.0, **options):
    keras.utils.set_random_seed(5)
    model = kmmft.models.TightVideoText(
        kmmft.encoders.VideoEncoder(image_encoder(dropout_rate), FRAMES),
        text(),
        **{"projection_dim": 8, "num_layers": 1, "num_heads": 2, **options},
    )
    # As made, the kinds and places are too small to be seen in scores.
    references.randomize(model.scorer)
    return model


def batch(size=6):
    rng = np.random.default_rng(0)
    mask = np.ones((size, FRAMES), bool)
    mask[1, 1:] = False
    return {
        "video": rng.uniform(0, 255, (size, FRAMES, 8, 8, 3)).astype("float32"),
        "video_mask": mask,
        "token_ids": rng.integers(0, 20, (size, 4)).astype("int32"),
        "padding_mask": np.ones((size, 4), bool),
    }


def trained(strategy=None, loss=None, groups=GROUPS, **options):
    """Trains the toy on one batch; returns model, losses of the steps, weights."""
    with (strategy or tf.distribute.get_strategy()).scope():
        model = tight(**options)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    dataset = tf.data.Dataset.from_tensors((batch(), groups)).repeat(2)
    history = model.fit(dataset, steps_per_epoch=1, epochs=2, verbose=0)
    weights = [variable.numpy() for variable in model.trainable_variables]
    return model, history.history["loss"], weights


LOSSES = {
    "info_nce": kmmft.losses.InfoNCE,
    "ignoring": lambda: kmmft.losses.InfoNCE(same_group="ignore"),
    "siglip": kmmft.losses.SigLIP,
}


@pytest.fixture(scope="module")
def one_device():
    made = {}

    def of(name):
        if name not in made:
            made[name] = trained(loss=LOSSES[name]())[1:]
        return made[name]

    return of


@pytest.mark.parametrize(
    ("name", "replicas", "micro_batch_size"),
    [
        ("info_nce", 1, 2),
        ("info_nce", 2, 1),
        ("ignoring", 2, None),
        ("siglip", 2, None),
    ],
)
def test_loss_and_weights_equal_one_device(
    name, replicas, micro_batch_size, one_device, two_replicas
):
    losses, weights = one_device(name)
    other_losses, other_weights = trained(
        two_replicas if replicas == 2 else None,
        LOSSES[name](),
        micro_batch_size=micro_batch_size,
    )[1:]
    np.testing.assert_allclose(other_losses, losses, atol=1e-5)
    assert losses[0] - losses[1] > 1e-3
    assert largest_difference(other_weights, weights) < 1e-5


def test_the_comparison_sees_scores_without_gradients(
    one_device, two_replicas, monkeypatch
):
    """A gather that passes no gradients reports the right loss and trains wrongly."""
    gather = tight_video_text.all_gather
    monkeypatch.setattr(
        tight_video_text, "all_gather", lambda value: tf.stop_gradient(gather(value))
    )
    losses, weights = one_device("info_nce")
    other_losses, other_weights = trained(two_replicas)[1:]
    assert other_losses[0] == pytest.approx(losses[0], abs=1e-5)
    assert largest_difference(other_weights, weights) > 1e-3


def test_loss_equals_numpy():
    """The groups' positives share the target, in both directions."""
    model = tight(logit_scale=2.0)
    inputs = batch()
    frames = model.encoders["video"](
        {key: inputs[key] for key in ("video", "video_mask")}
    )
    texts = model.encoders["text"](
        {key: inputs[key] for key in ("token_ids", "padding_mask")}
    )
    heads = [
        model.get_layer(f"{name}_tower").get_layer(f"{name}_projection").get_weights()
        for name in ("video", "text")
    ]
    (video_kernel,), (text_kernel,) = heads
    scores = model.scorer(
        unit(texts["pooled"].numpy() @ text_kernel),
        unit(frames["tokens"].numpy() @ video_kernel),
        mask=inputs["video_mask"],
    ).numpy()
    positive = GROUPS[:, None] == GROUPS
    expected = float(sum(model.losses))
    for logits in (2 * scores, 2 * scores.T):
        log_probability = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        rows = (positive * log_probability).sum(1) / positive.sum(1)
        expected -= rows.mean() / 2
    assert trained(logit_scale=2.0)[1][0] == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def model():
    model = tight(text_encoder)
    model.compile(keras.optimizers.Adam(1e-3), kmmft.losses.InfoNCE(0.1))
    return model


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return tf.io.encode_png(pixels).numpy()


VIDEOS = [[png(i) for i in range(9)], [png(9)], [png(10), png(11)]]
TEXTS = ["up", "down left", "left", "up down"]


def test_blocks_of_scores_are_those_of_single_pairs(model):
    scores = model.scores(TEXTS, VIDEOS)
    assert scores.shape == (4, 3) and scores.dtype == np.float32
    single = [[model.scores([t], [v])[0, 0] for v in VIDEOS] for t in TEXTS]
    np.testing.assert_allclose(scores, single, atol=1e-5)
    np.testing.assert_allclose(
        model.scores(TEXTS, VIDEOS, batch_size=2), scores, atol=1e-5
    )
    assert np.ptp(scores, axis=0).min() > 1e-3 and np.ptp(scores, axis=1).min() > 1e-3
    videos, texts = model.encode("video", VIDEOS), model.encode("text", TEXTS)
    np.testing.assert_allclose(model.similarity(videos, texts), scores.T, atol=1e-5)
    # A frame that is not there is zeros.
    np.testing.assert_array_equal(videos.any(-1), [[1, 1, 1], [1, 0, 0], [1, 1, 0]])


def test_saved_and_loaded_and_trained_on(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.scores(TEXTS, VIDEOS), model.scores(TEXTS, VIDEOS)
    )
    assert loaded.loss_function.label_smoothing == 0.1
    config = json.loads(json.dumps(model.get_config()))
    again = kmmft.models.TightVideoText.from_config(config)
    for key in config.keys() - {"video_encoder", "text_encoder"}:
        assert again.get_config()[key] == config[key]
    again.set_weights(model.get_weights())
    # The tokenizer's words are kept beside the config, not in it.
    inputs = {**batch(), "token_ids": batch()["token_ids"] % len(WORDS)}
    vectors, others = model(inputs), again(inputs)
    np.testing.assert_array_equal(
        again.similarity(others["text"], others["video"]),
        model.similarity(vectors["text"], vectors["video"]),
    )
    records = {
        "video": tf.ragged.constant(VIDEOS[:2]).to_tensor(""),
        "text": tf.constant(TEXTS[:2]),
        "id": tf.constant(["a", "b"]),
    }
    dataset = tf.data.Dataset.from_tensors(loaded.prepare_batch(records))
    logs = loaded.evaluate(dataset, verbose=0, return_dict=True)
    assert np.isfinite(logs["loss"])
    before = loaded.get_weights()
    loaded.fit(dataset, verbose=0)
    assert largest_difference(before, loaded.get_weights()) > 1e-4


def test_what_is_exported_scores_alike(model, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "answers_in_fresh_process", answers_here)
    longest = max(map(len, VIDEOS))
    raw = {
        "video": [video + [b""] * (longest - len(video)) for video in VIDEOS],
        "text": TEXTS[:3],
    }
    path = kmmft.export.export_model(model, tmp_path, raw)
    served = tf.saved_model.load(str(path)).signatures
    expected = model.scores(TEXTS, VIDEOS)
    videos = tf.constant(raw["video"])
    texts = tf.constant([[*TEXTS, ""]] * len(VIDEOS))
    ranked = served["rank"](video=videos, text=texts)
    np.testing.assert_allclose(ranked["similarity"][:, :-1], expected.T, atol=1e-4)
    assert set(ranked["order"].numpy()[:, -1]) == {len(TEXTS)}
    best = np.array([text.encode() for text in TEXTS])[expected.argmax(axis=0)]
    assert ranked["best"].numpy().tolist() == best.tolist()
    count = min(len(TEXTS), len(VIDEOS))
    pairs = served["serving_default"](
        video=videos[:count], text=tf.constant(TEXTS[:count])
    )
    np.testing.assert_allclose(
        pairs["score"], np.diag(expected[:count, :count]), atol=1e-4
    )


def test_mixed_precision_scores_in_float32(one_device, two_replicas):
    expected, _ = one_device("info_nce")
    keras.config.set_dtype_policy("mixed_bfloat16")
    losses = trained(two_replicas)[1]
    np.testing.assert_allclose(losses[0], expected[0], rtol=0.1)


@pytest.mark.parametrize(
    "loss",
    [
        kmmft.losses.SupervisedContrastive(),
        kmmft.losses.Matryoshka(kmmft.losses.InfoNCE(), dims=(2,)),
        kmmft.losses.Distillation(kmmft.losses.InfoNCE(), weight=0.5),
        keras.losses.MeanSquaredError(),
    ],
)
def test_losses_of_vectors_are_refused(model, loss):
    with pytest.raises(ValueError, match="`loss` must be a contrastive loss of a text"):
        tight().compile(loss=loss)


def test_hard_negatives_are_refused():
    inputs = batch()
    for key in ("token_ids", "padding_mask"):
        inputs[f"negative_{key}"] = inputs[key][:, None]
    model = tight()
    model.compile()
    with pytest.raises(ValueError, match="no explicit hard negatives"):
        model.fit(tf.data.Dataset.from_tensors(inputs), verbose=0)


def test_bad_arguments(model):
    with pytest.raises(ValueError, match=r"`video_encoder` must be a .*VideoEncoder"):
        kmmft.models.TightVideoText(image_encoder(), text_encoder())
    with pytest.raises(ValueError, match=r"`text_encoder` must be a .*TextEncoder"):
        video = kmmft.encoders.VideoEncoder(image_encoder(), FRAMES)
        kmmft.models.TightVideoText(video, image_encoder())
    with pytest.raises(ValueError, match="`micro_batch_size` must be positive"):
        tight(micro_batch_size=0)
    with pytest.raises(ValueError, match="equally wide"):
        tight(projection_dim=None)
    with pytest.raises(ValueError, match=r"Received: shapes \(2, 8\) and \(3, 8\)"):
        model.similarity(np.ones((2, 8)), np.ones((3, 8)))
