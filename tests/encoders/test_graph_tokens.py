"""Token ids in a graph are those of `tokenizers` and `sentencepiece`, text by text."""

import functools
import io
import string
import unicodedata

import keras_hub
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from tokenizers import normalizers, pre_tokenizers

from kmmft.encoders import ClipTokenizer, SiglipTokenizer
from kmmft.encoders.families import TEXT_FAMILIES, TextFamily
from kmmft.encoders.graph_tokens import graph_tokens
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.encoders.word_pieces import words_of_bert
from tests.encoders.reference_tokenizers import (
    bert,
    bert_normaliser,
    byte_level,
    byte_pairs,
    clip,
    golden_clip,
    minilm_vocabulary,
)
from tests.encoders.text_corpus import SIZE, corpus, old_characters


def ids(tokenizer, texts=None, clean=None):
    """Token ids, as lists, by the path of training and serving."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def in_graph(texts):
        return graph_tokens(tokenizer, clean(texts) if clean else texts)

    texts = corpus() if texts is None else texts
    batches = [texts[at : at + 512] for at in range(0, len(texts), 512)]
    return [row for batch in batches for row in in_graph(tf.constant(batch)).to_list()]


def differences(ours, expected):
    assert len(ours) == len(expected) == SIZE
    rows = zip(corpus(), ours, expected, strict=True)
    return [(text, a, b) for text, a, b in rows if a != b]


def check(ours, expected):
    different = differences(ours, expected)
    assert not different, f"{len(different)}: {different[:3]}"


def theirs(tokenizer):
    return [e.ids for e in tokenizer.encode_batch_fast(corpus())]


# === Word pieces ===
@pytest.mark.parametrize(
    ("lowercase", "strip_accents"), [(True, True), (False, False), (True, False)]
)
def test_bert(lowercase, strip_accents):
    options = {"lowercase": lowercase, "strip_accents": strip_accents}
    tokenizer = keras_hub.tokenizers.BertTokenizer(minilm_vocabulary(), **options)
    check(ids(tokenizer), theirs(bert(**options)))


@pytest.mark.parametrize("lowercase", [True, False])
def test_each_character_of_unicode_as_bert_sees_it(lowercase):
    """All that were in Unicode 3.2, but of the many plain letters every hundredth.

    Younger ones differ where TensorFlow and `tokenizers` go by different editions,
    and so do three marks that have changed their class.
    """
    category = unicodedata.category
    plain = [c for c in old_characters() if category(c) in ("Lo", "Co")]
    others = [c for c in old_characters() if category(c) not in ("Lo", "Co")]
    characters = [c for c in others + plain[::100] if c not in "\u1734\u1885\u1886"]
    assert len(characters) > 3000
    normaliser = bert_normaliser(lowercase, lowercase)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    texts = [f"a{c}b" for c in characters]
    expected = [[w for w, _ in split(normaliser.normalize_str(t))] for t in texts]
    words = tf.strings.split(words_of_bert(texts, lowercase, lowercase)).to_list()
    for text, ours, peers in zip(texts, words, expected, strict=True):
        assert [w.decode() for w in ours] == peers, ascii(text)


# === Byte pairs ===
@pytest.mark.parametrize("name", ["RobertaTokenizer", "BartTokenizer"])
def test_byte_pairs(name):
    vocabulary, merges = byte_pairs()
    merges = ["#version: 0.2", *merges]
    tokenizer = getattr(keras_hub.tokenizers, name)(vocabulary, merges)
    check(ids(tokenizer), theirs(byte_level(vocabulary, merges[1:])))


def test_byte_pairs_with_a_space_in_front():
    vocabulary, merges = byte_pairs()
    tokenizer = keras_hub.tokenizers.BytePairTokenizer(
        vocabulary, merges, add_prefix_space=True
    )
    check(ids(tokenizer), theirs(byte_level(vocabulary, merges, True)))


def test_bytes_without_a_token_and_holes_in_a_vocabulary():
    tokenizer = keras_hub.tokenizers.BytePairTokenizer(
        {"a": 3, "b": 7, "ab": 9, "Ġ": 1, "Ġa": 2}, ["a b", "Ġ a"]
    )
    assert ids(tokenizer, ["ab abc", "c", " é b"]) == [[9, 1, 9], [], [1, 1, 7]]


# === CLIP ===
def test_clip():
    vocabulary, merges = golden_clip()
    expected = theirs(clip(vocabulary, merges))
    check(ids(keras_hub.tokenizers.CLIPTokenizer(vocabulary, merges)), expected)
    own = ClipTokenizer(vocabulary, merges)
    check(ids(own), expected)
    # Called as a layer it takes another way to the same ids.
    assert own(list(corpus()[::9])) == expected[::9]


# === SentencePiece ===
@functools.cache
def unigrams(pad=0, unknown=1, start=2, end=3):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text for text in corpus()[::4] if "\0" not in text),
        model_writer=model,
        vocab_size=2000,
        character_coverage=0.98,
        pad_id=pad,
        unk_id=unknown,
        bos_id=start,
        eos_id=end,
        user_defined_symbols="[MASK],[CLS],[SEP]",
        minloglevel=2,
    )
    return model.getvalue()


def check_up_to_ties(ours, clean=lambda text: text, model=None):
    """As `sentencepiece` says, or another way through the text that is as likely.

    TensorFlow Text holds an older edition, which takes another one of several best
    ways: "----" is "---", "-" or "-", "---". The texts that T5, mT5 and ALBERT were
    trained on were cut by the older one.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model or unigrams())
    expected = processor.encode([clean(text) for text in corpus()])
    different = differences(ours, expected)
    assert len(different) < 0.03 * SIZE
    score = np.array([processor.get_score(i) for i in range(len(processor))])
    for text, a, b in different:
        assert processor.decode(a) == processor.decode(b), text
        np.testing.assert_allclose(score[a].sum(), score[b].sum(), rtol=1e-5)


def test_t5():
    check_up_to_ties(ids(keras_hub.tokenizers.T5Tokenizer(unigrams())))


def test_xlm_roberta():
    # fairseq puts a <pad> among the model's first tokens, and its <unk> is 3.
    model = unigrams(pad=-1, unknown=0, start=1, end=2)
    shifted = ids(keras_hub.tokenizers.XLMRobertaTokenizer(model))
    ours = [[0 if index == 3 else index - 1 for index in row] for row in shifted]
    check_up_to_ties(ours, model=model)


def test_albert():
    clean = TEXT_FAMILIES[keras_hub.models.AlbertBackbone].clean
    peer = normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ]
    )
    tokenizer = keras_hub.tokenizers.AlbertTokenizer(unigrams())
    check_up_to_ties(ids(tokenizer, clean=clean), peer.normalize_str)


def test_siglip():
    def canonical(text):  # as in transformers' `SiglipTokenizer`
        text = text.lower().translate(str.maketrans("", "", string.punctuation))
        return " ".join(text.split())

    tokenizer = SiglipTokenizer(unigrams(), pad_token="<pad>")
    check_up_to_ties(ids(tokenizer), canonical)


# === Together ===
@pytest.mark.parametrize("name", ["bert", "clip", "roberta"])
def test_no_state_and_the_same_in_another_program(name, tmp_path):
    tokenizer = {
        "bert": lambda: keras_hub.tokenizers.BertTokenizer(minilm_vocabulary()),
        "clip": lambda: keras_hub.tokenizers.CLIPTokenizer(*golden_clip()),
        "roberta": lambda: keras_hub.tokenizers.RobertaTokenizer(*byte_pairs()),
    }[name]()
    module = tf.Module()  # which holds no tokenizer, and so no table
    module.serve = tf.function(
        lambda texts: graph_tokens(tokenizer, texts).to_tensor(-1),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    operations = module.serve.get_concrete_function().graph.get_operations()
    assert not [o.type for o in operations if "Table" in o.type]
    texts = tf.constant(corpus()[::50])
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.serve(texts), module.serve(texts))
    assert loaded.serve(tf.constant([], tf.string)).shape == (0, 0)


def test_bytes_that_are_no_text_and_the_byte_0():
    for tokenizer in (
        keras_hub.tokenizers.BertTokenizer(minilm_vocabulary(), lowercase=True),
        keras_hub.tokenizers.RobertaTokenizer(*byte_pairs()),
        ClipTokenizer(*golden_clip()),
        keras_hub.tokenizers.T5Tokenizer(unigrams()),
        SiglipTokenizer(unigrams(), pad_token="<pad>"),
    ):
        preprocess = TextPreprocessor(tokenizer, 24, TextFamily(start=False))
        rows = [b"cut \xe4\xbd short\xff", "cut \ufffd short\ufffd", "a\0dog", "a"]
        token_ids = preprocess(tf.constant(rows))["token_ids"].numpy()
        np.testing.assert_array_equal(token_ids[0], token_ids[1])
        assert np.any(token_ids[2] != token_ids[3])  # not cut at the byte 0
