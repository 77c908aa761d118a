import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["a", "cat", "dog", "##s", "zu", "##rich", "."]


def test_texts_are_cut_as_before():
    tokenizer = keras_hub.tokenizers.BertTokenizer(
        WORDS, lowercase=True, strip_accents=True
    )
    texts = ["Zürich", "a dogs."]
    small = kmmft.encoders.shrink_tokenizer(tokenizer, texts)
    assert small.get_vocabulary() == [word for word in WORDS if word != "cat"]
    for text in texts:
        cut = [
            tf.function(t)(tf.constant([text])).numpy()[0] for t in (tokenizer, small)
        ]
        before = [tokenizer.id_to_token(number) for number in cut[0]]
        assert [small.id_to_token(number) for number in cut[1]] == before
    # A word that none of the texts has.
    (unknown,) = tf.function(small)(tf.constant(["cat"])).numpy()
    np.testing.assert_array_equal(unknown, [small.token_to_id("[UNK]")])


def test_other_tokenizers_and_no_texts():
    with pytest.raises(ValueError, match=r"word pieces.*Received: ByteTokenizer"):
        kmmft.encoders.shrink_tokenizer(keras_hub.tokenizers.ByteTokenizer(), ["a"])
    tokenizer = keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True)
    with pytest.raises(ValueError, match=r"Received: none\."):
        kmmft.encoders.shrink_tokenizer(tokenizer, [])
