import types

import pytest
import tensorflow as tf

from kmmft.encoders.families import text_family
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.encoders.word_tokens import in_a_row, split_words, word_tokens

from .text_backbones import TEXTS

FAMILIES = ["electra", "roberta", "xlm_roberta", "albert", "t5", "clip"]


def tokenises(name):
    backbone, tokenizer = TEXTS[name]()
    if name == "t5":
        family = text_family(TEXTS["xlm_roberta"]()[0])
    else:
        family = text_family(backbone)
    preprocessor = TextPreprocessor(tokenizer, 8, family)
    return types.SimpleNamespace(tokenizer=tokenizer, preprocessor=preprocessor)


@pytest.mark.parametrize("name", FAMILIES)
def test_words_have_the_tokens_of_their_text(name):
    encoder = tokenises(name)
    text = tf.constant(["a cat sits", "", "cats"])

    @tf.function
    def both(text):
        words = split_words(text).words
        # A text does not begin with a space.
        spaces = tf.ragged.constant([[False, True, True], [], [False]])
        row = in_a_row(word_tokens(encoder, words, spaces))
        return row.tokens, row.word, encoder.preprocessor.tokens(text)

    tokens, word, whole = both(text)
    assert tokens.to_list() == whole.to_list()
    assert word.to_list()[0] == sorted(word.to_list()[0])
    assert set(word.to_list()[0]) == {0, 1, 2}


def test_all_words_stand_behind_a_space_by_default():
    encoder = tokenises("roberta")
    words = tf.ragged.constant([["cat"], ["s"]])
    spaced = tf.function(encoder.preprocessor.tokens)(tf.constant([" cat", " s"]))
    found = tf.function(lambda: word_tokens(encoder, words).merge_dims(1, 2))()
    assert found.to_list() == spaced.to_list()


def test_words_and_places():
    words = split_words(tf.constant(["¡Olé, naïve\u00a0漢字!  it's 5.30", " "]))
    expected = [
        "¡",
        "Olé",
        ",",
        "naïve",
        "漢",
        "字",
        "!",
        "it",
        "'",
        "s",
        "5",
        ".",
        "30",
    ]
    assert [word.decode() for word in words.words.to_list()[0]] == expected
    assert words.words.to_list()[1] == []
    raw = "¡Olé, naïve\u00a0漢字!  it's 5.30".encode()
    spans = zip(words.starts.to_list()[0], words.ends.to_list()[0], strict=True)
    assert [raw[start:end].decode() for start, end in spans] == expected
