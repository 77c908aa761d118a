"""The smallest text backbone and tokenizer of each family: name -> make()."""

import functools
import io

import sentencepiece
from keras_hub import models

WORDS = ["a", "cat", "sits", "on", "the", "mat", "red", "bird", "dog", "##s"]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


def word_piece(tokenizer_class):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return tokenizer_class(specials + WORDS, lowercase=True)


@functools.cache
def proto(**ids):
    """A SentencePiece model over a few words, with the special tokens asked for."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 20),
        model_writer=model,
        vocab_size=40,
        model_type="unigram",
        hard_vocab_limit=False,
        minloglevel=2,
        **ids,
    )
    return model.getvalue()


def bert_like_proto(pad="<pad>"):
    return proto(
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        pad_piece=pad,
        unk_piece="<unk>" if pad == "<pad>" else "[UNK]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        user_defined_symbols="[MASK]",
    )


def xlm_proto():
    return proto(unk_id=0, bos_id=1, eos_id=2)


def clip_tokenizer():
    letters = "abcdeghimnorst"
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, "ca", "cat</w>"]
    pieces += [f"{letter}</w>" for letter in letters]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return models.CLIPTokenizer(vocabulary=vocabulary, merges=["c a", "ca t</w>"])


def byte_pairs(tokenizer_class):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdeghimnorstRC,"]
    pieces += ["ca", "cat", "Ġs"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return tokenizer_class(vocabulary, ["c a", "ca t", "Ġ s"])


def clip_like(backbone_class):
    return backbone_class(60, 8, max_sequence_length=8, **SIZES)


TEXTS = {
    "bert": lambda: (
        models.BertBackbone(20, **SIZES),
        word_piece(models.BertTokenizer),
    ),
    "distil_bert": lambda: (
        models.DistilBertBackbone(20, **SIZES),
        word_piece(models.DistilBertTokenizer),
    ),
    "electra": lambda: (
        models.ElectraBackbone(20, embedding_dim=8, **SIZES),
        word_piece(models.ElectraTokenizer),
    ),
    "roformer_v2": lambda: (
        models.RoformerV2Backbone(20, head_size=4, **SIZES),
        word_piece(models.RoformerV2Tokenizer),
    ),
    "esm": lambda: (
        models.ESMBackbone(30, **SIZES, pad_token_id=2),
        models.ESMTokenizer(["<cls>", "<eos>", "<pad>", "<mask>", "<unk>", *WORDS]),
    ),
    "roberta": lambda: (
        models.RobertaBackbone(40, **SIZES),
        byte_pairs(models.RobertaTokenizer),
    ),
    "bart": lambda: (
        models.BartBackbone(40, **SIZES),
        byte_pairs(models.BartTokenizer),
    ),
    "xlm_roberta": lambda: (
        models.XLMRobertaBackbone(60, **SIZES),
        models.XLMRobertaTokenizer(xlm_proto()),
    ),
    "albert": lambda: (
        models.AlbertBackbone(60, embedding_dim=8, **SIZES),
        models.AlbertTokenizer(bert_like_proto()),
    ),
    "deberta_v3": lambda: (
        models.DebertaV3Backbone(60, **SIZES),
        models.DebertaV3Tokenizer(bert_like_proto("[PAD]")),
    ),
    "f_net": lambda: (
        models.FNetBackbone(60, 1, 8, 16),
        models.FNetTokenizer(bert_like_proto()),
    ),
    "t5": lambda: (
        models.T5Backbone(60, **SIZES),
        models.T5Tokenizer(proto(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)),
    ),
    "clip": lambda: (
        clip_like(models.CLIPTextEncoder),
        clip_tokenizer(),
    ),
    "metaclip_2": lambda: (
        clip_like(models.MetaCLIP2TextEncoder),
        models.MetaCLIP2Tokenizer(xlm_proto()),
    ),
    "siglip": lambda: (
        clip_like(models.SigLIPTextEncoder),
        models.SigLIPTokenizer(proto(unk_id=0, bos_id=-1, eos_id=1)),
    ),
    "xlnet": lambda: (models.XLNetBackbone(60, **SIZES), None),
}
