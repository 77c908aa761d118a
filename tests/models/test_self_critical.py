import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.training.step_options import Forward

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat"]
LENGTH = 5
KEYS = tf.constant([3, 4, 5, 6], tf.int64)


def make_model():
    keras.utils.set_random_seed(1)
    model = kmmft.models.FusionGenerator(
        {
            "image": kmmft.encoders.ImageEncoder(
                keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
            )
        },
        kmmft.models.CrossAttentionDecoder(len(WORDS), 8, 1, 2, LENGTH),
        keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
        max_length=LENGTH,
    )
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.2 * random.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


def batch_of(model):
    pixels = np.linspace(0, 255, 4 * 16 * 16 * 3).reshape(4, 16, 16, 3)
    inputs, words, weights = model.teach(
        {"image": tf.constant(pixels, tf.float32)}, tf.constant(["a", "", "red", "a"])
    )
    return {**inputs, "reference_key": KEYS}, words, weights


def reds(texts, ended, keys):
    """Likes red words, as many times as the key says, and an end."""
    count = np.array([text.split().count("red") for text in texts])
    return count * keys / 4 + 0.5 * np.asarray(ended)


def letters(texts, ended, keys):
    count = np.array([len(text) for text in texts])
    return np.sin(count) * keys + 0.5 * np.asarray(ended)


def test_gradient_at_the_logits_is_that_of_the_paper(model):
    """Rennie et al., 2017, eq. 8, with what is drawn and written in the test."""
    batch = batch_of(model)
    seen = {}

    def compute(batch, part):
        seen["batch"], seen["logits"] = batch, model(batch[0])
        return model.loss_of_step(batch, seen["logits"]), seen["logits"]

    class Seeds:
        def key(self, *numbers):
            return tf.constant([7, 0])

    model.compile(keras.optimizers.SGD(0.0), metrics=[])
    option = kmmft.models.SelfCritical(letters)
    run = option.wrap(model, Forward(compute, Seeds()))
    with tf.GradientTape() as tape:
        loss, _ = run(batch)
    gradient = tape.gradient(loss, seen["logits"]).numpy()

    drawn, greedy = option._write_two(model, batch[0], 7)
    rewards, real = [], []
    for ids in (drawn.numpy(), greedy.numpy()):
        texts, ends = [], []
        for row in ids[:, 1:].tolist():
            ends.append(3 in row)
            row = row[: row.index(3)] if 3 in row else row
            texts.append(" ".join(WORDS[word] for word in row if word))
            real.append([1] * len(row) + [1] * ends[-1])
        rewards.append(letters(texts, ends, KEYS.numpy()))
    advantage = rewards[0] - rewards[1]
    assert len(set(advantage.tolist())) > 2 and min(advantage) < 0 < max(advantage)
    logits = seen["logits"].numpy()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected, drawn_words = np.zeros_like(p), sum(map(sum, real[:4]))
    for row in range(4):
        for place in range(sum(real[row])):
            one = np.eye(len(WORDS))[drawn.numpy()[row, place + 1]]
            expected[row, place] = advantage[row] * (p[row, place] - one)
    np.testing.assert_allclose(gradient, expected / drawn_words, atol=1e-6)
    # Each word is scored after the words that were drawn before it.
    inputs, words, _ = seen["batch"]
    np.testing.assert_array_equal(inputs["target_token_ids"][:, 0], [2] * 4)
    np.testing.assert_array_equal(inputs["target_token_ids"][:, 1:], words[:, :-1])
    assert {"drawn", "greedy"} == set(option._seen)


class LeastLikely(kmmft.models.Greedy):
    """Draws nothing, and yet writes something else than the greedy search."""

    def __call__(self, step, *args, **options):
        def turned(*inputs):
            logits, cache = step(*inputs)
            return -logits, cache

        return super().__call__(turned, *args, **options)


def trained(steps=1, reward=reds, draw=None, run_eagerly=False, **options):
    model = make_model()
    option = kmmft.models.SelfCritical(reward)
    if draw is not None:
        object.__setattr__(option, "_searches", (draw, kmmft.models.Greedy()))
    model.step_options = [option]
    model.compile(
        keras.optimizers.SGD(0.5),
        metrics=[],
        jit_compile=False,
        run_eagerly=run_eagerly,
    )
    data = tf.data.Dataset.from_tensors(batch_of(model)).unbatch().batch(4)
    history = model.fit(
        data.repeat(),
        steps_per_epoch=steps,
        callbacks=[option.log_rewards()],
        **options,
    )
    return model, history.history


def test_what_is_rewarded_is_written(model):
    inputs, *_ = batch_of(model)
    before = [text.split().count(b"red") for text in model.generate_batch(inputs)]
    assert max(before) < LENGTH - 1
    trained_model, history = trained(steps=15, epochs=2, shuffle=False, verbose=0)
    texts = trained_model.generate_batch(inputs)
    assert [text.split().count(b"red") for text in texts] == [LENGTH - 1] * 4
    # Keys are 4.5 in the mean, and there is no room for an end.
    assert history["greedy_reward"][-1] == pytest.approx(4.5, abs=0.1)
    assert history["drawn_reward"][0] < history["drawn_reward"][-1] <= 4.5


def test_replicas_equal_one_device(two_replicas):
    options = {"reward": letters, "draw": LeastLikely(), "verbose": 0, "shuffle": False}
    before = [weight.numpy() for weight in make_model().trainable_weights]
    alone, _ = trained(run_eagerly=True, **options)
    with two_replicas.scope():
        together, _ = trained(**options)
    pairs = list(zip(alone.trainable_weights, together.trainable_weights, strict=True))
    for one, two in pairs:
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-5)
    moved = [np.abs(a - b[0].numpy()).max() for a, b in zip(before, pairs, strict=True)]
    assert np.median(moved) > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"micro_batch_size": 2}, "micro_batch_size=2"),
        ({"jit_compile": True}, "jit_compile=False"),
    ],
)
def test_models_that_cannot_be_trained_so(model, monkeypatch, change, message):
    for name, value in change.items():
        monkeypatch.setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        kmmft.models.SelfCritical(reds).wrap(model, None)


def test_other_models_and_batches(model):
    option = kmmft.models.SelfCritical(reds)
    with pytest.raises(ValueError, match=r"FusionGenerator\. Received: Model"):
        option.wrap(keras.Model(), None)
    inputs, *rest = batch_of(model)
    del inputs["reference_key"]
    with pytest.raises(ValueError, match="by 'reference_key'"):
        option.wrap(model, None)((inputs, *rest))
