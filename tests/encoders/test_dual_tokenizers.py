"""The tokenizers of CLIP and SigLIP give the ids of `transformers`, in a graph."""

import gzip
import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from sentencepiece import sentencepiece_model_pb2

from kmmft.encoders import ClipTokenizer, SiglipTokenizer
from kmmft.encoders.checkpoint_files import CheckpointFiles
from kmmft.encoders.checkpoint_tokenizers import read_tokenizer
from kmmft.encoders.families import TextFamily
from kmmft.encoders.text_preprocessor import TextPreprocessor
from tests.encoders.golden.token_strings import strings

GOLDEN = pathlib.Path(__file__).parent / "golden"


def read(directory, kind, layout="transformers"):
    return read_tokenizer(CheckpointFiles(str(directory), layout, {}), kind)


def token_ids(tokenizer, start, length, texts=None):
    preprocess = TextPreprocessor(tokenizer, length, TextFamily(start=start))
    dataset = tf.data.Dataset.from_tensor_slices(texts or strings()).batch(1024)
    batches = [batch["token_ids"] for batch in dataset.map(preprocess)]
    return np.concatenate(batches)


def golden_ids(name):
    return np.load(GOLDEN / "token_ids.npz")[name]


@pytest.fixture(scope="module")
def clip():
    return json.loads((GOLDEN / "clip/tokenizer.json").read_text())["model"]


def test_clip():
    ids = token_ids(read(GOLDEN / "clip", "clip"), True, 24)
    assert len(ids) > 2000
    np.testing.assert_array_equal(ids, golden_ids("clip"))


def test_siglip_2():
    ids = token_ids(read(GOLDEN / "siglip2", "siglip"), False, 16)
    np.testing.assert_array_equal(ids, golden_ids("siglip2"))


def test_siglip():
    ids = token_ids(read(GOLDEN / "siglip", "siglip"), False, 16)
    expected = golden_ids("siglip")
    # "…" is taken for "...", and here the pieces ".." and "." make it in two orders
    # of the same score. TensorFlow Text's SentencePiece takes the other one.
    tie = np.array(["…" in text for text in strings()])
    np.testing.assert_array_equal(ids[~tie], expected[~tie])
    tie &= expected[:, -2] == 1  # no piece was cut off
    assert 0 < tie.sum() < 150
    np.testing.assert_array_equal(np.sort(ids[tie], 1), np.sort(expected[tie], 1))


@pytest.mark.parametrize("name", ["clip", "siglip2"])
def test_exported(tmp_path, name):
    kind, start, length = (
        ("clip", True, 24) if name == "clip" else ("siglip", False, 16)
    )
    family = TextFamily(start=start)
    preprocess = TextPreprocessor(read(GOLDEN / name, kind), length, family)
    module = tf.Module()
    module.serve = tf.function(
        lambda texts: preprocess(texts)["token_ids"],
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    ids = tf.saved_model.load(str(tmp_path)).serve(tf.constant(strings()[::9]))
    np.testing.assert_array_equal(ids, golden_ids(name)[::9])


def test_clip_from_vocabulary_and_merges(tmp_path, clip):
    (tmp_path / "vocab.json").write_text(json.dumps(clip["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in clip["merges"]), ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = read(tmp_path, "clip")
    np.testing.assert_array_equal(
        token_ids(tokenizer, True, 24, strings()[:100]), golden_ids("clip")[:100]
    )


def test_clip_from_the_file_of_open_clip(tmp_path, clip):
    lines = ["version", *(" ".join(pair) for pair in clip["merges"]), ""]
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    tokenizer = read(tmp_path, "clip", "open_clip")
    assert tokenizer.vocabulary == clip["vocab"]
    # open_clip pads with 0, and `transformers` with the end token.
    ids = golden_ids("clip")[:100]
    padding = np.cumsum(ids == ids.max(), axis=1) > 1
    expected = np.where(padding, 0, ids)
    np.testing.assert_array_equal(
        token_ids(tokenizer, True, 24, strings()[:100]), expected
    )


def test_siglip_from_tokenizer_json(tmp_path, monkeypatch):
    """A unigram model in the other format, as `tokenizers` itself writes it."""
    monkeypatch.setitem(sys.modules, "sentencepiece_model_pb2", sentencepiece_model_pb2)
    monkeypatch.syspath_prepend(str(tmp_path))
    other = tokenizers.SentencePieceUnigramTokenizer.from_spm(
        str(GOLDEN / "siglip/spiece.model")
    )
    other.add_special_tokens(["<pad>", "</s>", "<unk>"])
    other.save(str(tmp_path / "tokenizer.json"))
    tokenizer = read(tmp_path, "siglip")
    original = read(GOLDEN / "siglip", "siglip")
    np.testing.assert_array_equal(
        token_ids(tokenizer, False, 16), token_ids(original, False, 16)
    )


def test_siglip_2_from_tokenizer_json(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((GOLDEN / "siglip2" / name).read_bytes())
    ids = token_ids(read(tmp_path, "siglip"), False, 16)
    np.testing.assert_array_equal(ids, golden_ids("siglip2"))


@pytest.mark.parametrize(
    ("clean", "same"),
    [
        ("open_clip", "snake case dont"),
        ("canonicalise", "snakecase dont"),
        ("lower", "snake_case  don't "),
    ],
)
def test_cleaning(clean, same):
    proto = (GOLDEN / "siglip/spiece.model").read_bytes()
    plain = SiglipTokenizer(proto, clean="none")
    tokenizer = SiglipTokenizer(proto, clean=clean)
    text = "Snake_Case  DON't "
    assert tokenizer([text]) == plain([same])


def test_odd_bytes_and_names_of_special_tokens():
    tokenizer = read(GOLDEN / "clip", "clip")
    theirs = tokenizers.Tokenizer.from_file(str(GOLDEN / "clip/tokenizer.json"))
    for text in ("a\0b", "a \0 b", "\x1f\x7f\x80", "\ufeff\u200b\ufffd", "a\u2028b"):
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert tokenizer([text]) == [expected]
    # A name in a text is no special token, so that a text cannot end early.
    (ids,) = tokenizer(["a <|endoftext|> b"])
    assert tokenizer.end_token_id not in ids


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ({"a": 0, "b": 2}, [], "each id from 0 on"),
        ({"a": 0, "<|startoftext|>": 1}, [], r"without <\|endoftext\|>"),
        (
            {"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2},
            ["a b"],
            "Received: 'a b'",
        ),
    ],
)
def test_bad_clip_vocabularies(vocabulary, merges, message):
    with pytest.raises(ValueError, match=message):
        ClipTokenizer(vocabulary, merges)


def test_bad_siglip_tokenizers(tmp_path):
    proto = (GOLDEN / "siglip/spiece.model").read_bytes()
    with pytest.raises(ValueError, match=r"`clean` must be one of.*'upper'"):
        SiglipTokenizer(proto, clean="upper")
    with pytest.raises(ValueError, match="special token `'<eos>'`"):
        SiglipTokenizer(proto, end_token="<eos>")
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    with pytest.raises(ValueError, match=r"unigram model or byte pairs.*'WordPiece'"):
        read(tmp_path, "siglip")
    with pytest.raises(ValueError, match=r"CLIP's byte pairs.*'WordPiece'"):
        read(tmp_path, "clip")
