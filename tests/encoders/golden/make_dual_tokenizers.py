"""Small tokenizers of CLIP's and SigLIP's kinds; see make_dual_golden.py."""

import gzip
import io
import pathlib

import numpy as np
import open_clip
import sentencepiece
import tokenizers
import transformers
from token_strings import PLAIN, WORDS
from transformers.convert_slow_tokenizer import generate_merges


def clip_tokenizer() -> transformers.CLIPTokenizer:
    path = pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1:511]
    characters = list(open_clip.tokenizer.bytes_to_unicode().values())
    pieces = characters + [f"{c}</w>" for c in characters]
    merges = [tuple(line.split()) for line in lines]
    pieces += ["".join(merge) for merge in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return transformers.CLIPTokenizer(vocabulary, merges, model_max_length=24)


def sentence_piece(**arguments) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS), " ".join(PLAIN)] * 20),
        model_writer=model,
        minloglevel=2,
        **arguments,
    )
    return model.getvalue()


def siglip_tokenizer(directory: pathlib.Path) -> transformers.SiglipTokenizer:
    proto = sentence_piece(
        vocab_size=220,
        model_type="unigram",
        hard_vocab_limit=False,
        character_coverage=0.98,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    directory.mkdir(exist_ok=True)
    (directory / "spiece.model").write_bytes(proto)
    return transformers.SiglipTokenizer(
        str(directory / "spiece.model"), model_max_length=16
    )


def siglip2_tokenizer(directory: pathlib.Path) -> transformers.Siglip2Tokenizer:
    """Gemma's kind: byte pairs with byte fallback, and an <eos> at the end."""
    proto = sentence_piece(
        vocab_size=480,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
    )
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.model").write_bytes(proto)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    pieces = range(processor.vocab_size())
    vocabulary = {processor.id_to_piece(i): i for i in pieces}
    scores = {processor.id_to_piece(i): processor.get_score(i) for i in pieces}
    merges = generate_merges(vocabulary, scores)
    tokenizer = transformers.Siglip2Tokenizer(
        vocabulary, merges, padding_side="right", model_max_length=16
    )
    tokenizer.backend_tokenizer.post_processor = (
        tokenizers.processors.TemplateProcessing(
            single="$A:0 <eos>:0", special_tokens=[("<eos>", 1)]
        )
    )
    tokenizer.save_pretrained(directory)
    return tokenizer


def padded(tokenizer, texts: list[str], length: int) -> np.ndarray:
    options = {"padding": "max_length", "truncation": True, "max_length": length}
    return np.array(tokenizer(texts, **options)["input_ids"], "int16")
