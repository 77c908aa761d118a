"""Reads and writes the tokenizer files of CLIP and SigLIP checkpoints."""

import gzip
import json
import pathlib

import keras

from kmmft.encoders.checkpoint_files import CheckpointFiles
from kmmft.encoders.clip_tokenizer import ClipTokenizer
from kmmft.encoders.sentencepiece_models import (
    byte_signs,
    gemma_model,
    merges_of,
    unigram_model,
)
from kmmft.encoders.siglip_tokenizer import SiglipTokenizer

_OPEN_CLIP_MERGES = ("bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt")
_CLIP_MERGES = 49152 - 256 - 2  # what OpenAI took of that file
_SENTENCE_PIECE = ("spiece.model", "tokenizer.model")


def read_tokenizer(files: CheckpointFiles, kind: str) -> keras.layers.Layer | None:
    """The tokenizer of a checkpoint, or `None` if there are no files for one.

    Args:
        files: The checkpoint.
        kind: `"clip"` or `"siglip"`.

    Raises:
        ValueError: If the files are of another kind of tokenizer.
    """
    if kind == "clip":
        return _read_clip(files)
    tokenizer = files.json("tokenizer.json")
    named = next((name for name in _SENTENCE_PIECE if files.has(name)), None)
    if named is not None:
        proto = files.path(named).read_bytes()
    elif tokenizer:
        proto = _model_of(tokenizer)
    else:
        return None
    config = files.json("tokenizer_config.json") or files.json(
        "special_tokens_map.json"
    )
    gemma = b"<eos>" in proto
    clean = "lower" if gemma else "canonicalise"
    if files.layout == "open_clip":
        clean = "open_clip"
    return SiglipTokenizer(
        proto,
        end_token=_special(config, "eos_token", "<eos>" if gemma else "</s>"),
        pad_token=_special(config, "pad_token", "<pad>" if gemma else "</s>"),
        clean=clean,
    )


def write_tokenizer(
    tokenizer: keras.layers.Layer, directory: pathlib.Path, sequence_length: int
) -> None:
    """Writes the files that `transformers` reads.

    Args:
        tokenizer: The tokenizer.
        directory: Where to write them.
        sequence_length: Length of the token ids.

    Raises:
        ValueError: If it is neither a `ClipTokenizer` nor a `SiglipTokenizer`.
    """
    if isinstance(tokenizer, ClipTokenizer):
        names = _write_clip(tokenizer, directory)
    elif isinstance(tokenizer, SiglipTokenizer) and tokenizer.clean == "canonicalise":
        (directory / "spiece.model").write_bytes(tokenizer.proto)
        names = {"tokenizer_class": "SiglipTokenizer"}
    elif isinstance(tokenizer, SiglipTokenizer) and tokenizer.clean == "lower":
        names = _write_gemma(tokenizer, directory)
    else:
        raise ValueError(
            "The text encoder's tokenizer must be a `ClipTokenizer`, or a "
            "`SiglipTokenizer` that cleans as `transformers` does ('canonicalise' or "
            f"'lower'). Received: {tokenizer}"
        )
    names |= {
        "eos_token": tokenizer.end_token,
        "pad_token": _token(tokenizer, tokenizer.pad_token_id),
        "model_max_length": sequence_length,
        "padding_side": "right",
    }
    text = json.dumps(names, indent=2, sort_keys=True)
    (directory / "tokenizer_config.json").write_text(text + "\n")


# === CLIP ===
def _read_clip(files: CheckpointFiles) -> ClipTokenizer | None:
    compressed = next((n for n in _OPEN_CLIP_MERGES if files.has(n)), None)
    if files.has("vocab.json") and files.has("merges.txt"):
        vocabulary = files.json("vocab.json")
        lines = files.path("merges.txt").read_text(encoding="utf-8").split("\n")
        merges = [line for line in lines if line and not line.startswith("#version")]
    elif files.has("tokenizer.json"):
        model = files.json("tokenizer.json").get("model", {})
        if model.get("end_of_word_suffix") != "</w>":
            raise ValueError(
                "tokenizer.json must hold CLIP's byte pairs. Received: "
                f"{files.directory} with model type {model.get('type')!r}"
            )
        vocabulary = model["vocab"]
        pairs = model["merges"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    elif compressed is not None:
        vocabulary, merges = _open_clip_vocabulary(files.path(compressed))
    else:
        return None
    pad = 0 if files.layout == "open_clip" else None
    token = _special(files.json("tokenizer_config.json"), "pad_token", None)
    if pad is None and token is not None:
        pad = vocabulary.get(token)
    return ClipTokenizer(vocabulary, merges, pad)


def _open_clip_vocabulary(path: pathlib.Path) -> tuple[dict[str, int], list[str]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    merges = [line for line in text.split("\n")[1 : 1 + _CLIP_MERGES] if line]
    signs = list(byte_signs().values())
    tokens = [*signs, *(f"{sign}</w>" for sign in signs)]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}, merges


def _write_clip(tokenizer: ClipTokenizer, directory: pathlib.Path) -> dict:
    merges = "\n".join(["#version: 0.2", *tokenizer.merges, ""])
    (directory / "vocab.json").write_text(json.dumps(tokenizer.vocabulary))
    (directory / "merges.txt").write_text(merges, encoding="utf-8")
    return {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "unk_token": "<|endoftext|>",
    }


# === SentencePiece ===
def _write_gemma(tokenizer: SiglipTokenizer, directory: pathlib.Path) -> dict:
    """`tokenizer.json`, by the library that reads it."""
    import tokenizers  # slow, and needed only here
    from tokenizers import normalizers, pre_tokenizers, processors

    vocabulary = {piece: i for i, piece in enumerate(tokenizer.get_vocabulary())}
    end = tokenizer.end_token
    special = [t for t in ("<pad>", "<eos>", "<bos>", "<unk>") if t in vocabulary]
    fast = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=vocabulary,
            merges=merges_of(tokenizer.proto),
            fuse_unk=True,
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    fast.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(" ", "\u2581")]
    )
    fast.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    fast.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.end_token_id)]
    )
    fast.add_special_tokens(special)
    fast.save(str(directory / "tokenizer.json"))
    return {"tokenizer_class": "Siglip2Tokenizer", "bos_token": "<bos>"}


def _model_of(tokenizer: dict) -> bytes:
    model = tokenizer.get("model", {})
    if model.get("type") == "Unigram":
        return unigram_model(tokenizer)
    if model.get("type") == "BPE" and model.get("byte_fallback"):
        return gemma_model(tokenizer)
    raise ValueError(
        "tokenizer.json must hold a unigram model or byte pairs with byte fallback. "
        f"Received: model type {model.get('type')!r}"
    )


def _token(tokenizer: keras.layers.Layer, index: int) -> str:
    if isinstance(tokenizer, ClipTokenizer):
        return next(t for t, i in tokenizer.vocabulary.items() if i == index)
    return tokenizer.id_to_token(index)


def _special(config: dict, name: str, default: str | None) -> str | None:
    token = config.get(name, default)
    return token.get("content", default) if isinstance(token, dict) else token
