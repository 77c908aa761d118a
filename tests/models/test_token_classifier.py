import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.encoders.word_tokens import in_a_row, split_words, word_tokens
from kmmft.models import TokenClassifier

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "an", "##na", "sing", "##s", "."]
TAGS = ["O", "B-PER", "I-PER"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    encoder = kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length=8,
    )
    return TokenClassifier(encoder, TAGS)


def padded(model, words, tags):
    record = {"words": tf.constant(words, tf.string), "tags": tf.constant(tags)}
    return {name: value[None] for name, value in model.pad_record(record).items()}


def test_tags_stand_at_first_tokens(model):
    batch = padded(model, ["Anna", "\x07", "sings", "."], [1, 2, 0, 2])
    inputs, tags, weights = model.prepare_batch(batch)
    # [CLS] an ##na sing ##s . [SEP]; the control character has no token.
    np.testing.assert_array_equal(inputs["token_ids"], [[2, 5, 6, 7, 8, 9, 3, 0]])
    np.testing.assert_array_equal(weights, [[0, 1, 0, 1, 0, 1, 0, 0]])
    np.testing.assert_array_equal(tags, [[0, 1, 0, 0, 0, 2, 0, 0]])


def test_words_behind_the_end_do_not_count(model):
    batch = padded(model, ["Anna"] * 20, [1] * 20)
    inputs, _, weights = model.prepare_batch(batch)
    np.testing.assert_array_equal(inputs["token_ids"], [[2, 5, 6, 5, 6, 5, 6, 3]])
    np.testing.assert_array_equal(weights, [[0, 1, 0, 1, 0, 1, 0, 0]])
    assert model.tag([["Anna"] * 20])[0][3:] == ["O"] * 17


def test_tags_are_the_likeliest_of_first_tokens(model):
    batch = padded(model, ["Anna", "sings", "."], [0, 0, 0])
    inputs, _, weights = model.prepare_batch(batch)
    logits = model(inputs).numpy()[0][weights.numpy()[0] > 0]
    expected = [TAGS[tag] for tag in logits.argmax(-1)]
    assert model.tag([["Anna", "sings", "."], ["."]])[0] == expected
    answer = model.serve(tf.constant(["Anna sings."]))
    assert answer["words"].numpy().tolist() == [[b"Anna", b"sings", b"."]]
    assert [tag.decode() for tag in answer["tags"].numpy()[0]] == expected
    np.testing.assert_array_equal(answer["starts"], [[0, 5, 10]])


def test_loss_is_the_mean_over_words(model):
    model.compile(keras.optimizers.SGD(0.0))
    rows = [(["Anna", "sings"], [1, 0]), (["."], [2])]
    parts = [padded(model, *row) for row in rows]
    batch = {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}
    inputs, tags, weights = model.prepare_batch(batch)
    shares = tf.nn.log_softmax(model(inputs)).numpy()
    expected = [-shares[0, 1, 1], -shares[0, 3, 0], -shares[1, 1, 2]]
    logs = model.train_on_batch(inputs, tags, weights, return_dict=True)
    assert logs["loss"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_replicas_equal_one_device(model, two_replicas):
    """The halves of the batch have 4 and 2 words."""
    rows = [(["Anna", "sings", ".", "Anna"], [1, 0, 2, 1]), (["."], [2]), (["."], [0])]
    rows.insert(1, ([], []))
    parts = [padded(model, *row) for row in rows]
    batch = {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}
    prepared = model.prepare_batch(batch)

    def trained():
        again = TokenClassifier.from_config(model.get_config())
        again.set_weights(model.get_weights())
        again.compile(keras.optimizers.SGD(0.5))
        again.fit(tf.data.Dataset.from_tensors(prepared), verbose=0)
        return [weight.numpy() for weight in again.trainable_weights]

    alone = trained()
    with two_replicas.scope():
        together = trained()
    before = [weight.numpy() for weight in model.trainable_weights]
    for start, one, two in zip(before, alone, together, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
        assert start.shape == one.shape
    moved = [np.abs(a - b).max() for a, b in zip(before, alone, strict=True)]
    assert np.median(moved) > 1e-3


def test_saved_model_tags_alike(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    text = tf.constant(["Anna sings. Anna"])
    for name, value in model.serve(text).items():
        np.testing.assert_array_equal(value, loaded.serve(text)[name])


def test_words_of_texts_have_the_tokens_of_the_text(model):
    texts = ["Anna sings.Anna", "", " . ", "naïve漢字!? it's"]
    words = split_words(tf.constant(texts))
    row = in_a_row(word_tokens(model.encoder, words.words))
    whole = tf.function(model.encoder.preprocessor.tokens)(tf.constant(texts))
    assert row.tokens.to_list() == whole.to_list()
    assert row.word.to_list()[0] == [0, 0, 1, 1, 2, 3, 3]
    assert row.is_first.to_list()[0] == [True, False, True, False, True, True, False]
    assert row.is_last.to_list()[0] == [False, True, False, True, True, False, True]
    raw = texts[3].encode()
    spans = zip(words.starts.to_list()[3], words.ends.to_list()[3], strict=True)
    assert [raw[start:end] for start, end in spans] == words.words.to_list()[3]


def test_bad_arguments(model):
    with pytest.raises(ValueError, match="two or more different names"):
        TokenClassifier(model.encoder, ["O", "O"])
    with pytest.raises(ValueError, match="2 sentences, 1 with an empty word"):
        model.tag([["a"], [""]])
    # Each letter would be a word.
    for texts in (["a red cat"], "a red cat"):
        with pytest.raises(ValueError, match=r"split into words.*text 'a red cat'"):
            model.tag(texts)
    encoder = kmmft.encoders.TextEncoder(model.encoder.backbone, None, 8)
    with pytest.raises(ValueError, match="tokenizer=None"):
        TokenClassifier(encoder, TAGS)
