"""Vocabularies of other tokenizers written as SentencePiece models.

SentencePiece runs inside a TensorFlow graph, keeps no state and is several times
faster than byte pair encoding in TensorFlow ops.
"""

import base64

from sentencepiece import sentencepiece_model_pb2

_Piece = sentencepiece_model_pb2.ModelProto.SentencePiece
_SPACE = "\u2581"
_END_OF_WORD = "</w>"
# Stands for the byte 0, which SentencePiece allows in no piece.
NULL = "\u0100"
# Bytes that UTF-8 never has, for two more signs.
NULL_BYTE = 0xFE
WORD_END = 0xFF


def clip_model(vocabulary: dict[str, int], merges: list[str]) -> bytes:
    """CLIP's byte pairs. Its input is words, whose bytes are read as Latin-1.

    A merge's rank becomes its piece's score, and the end of a word becomes
    SentencePiece's sign for a space, written after the word.

    Args:
        vocabulary: Token to id; the ids are 0, 1, 2, ...
        merges: Merge rules such as `"i n"`, the first one first.

    Returns:
        A serialised SentencePiece model.
    """
    ranks = _ranks(merges)
    latin = {ord(sign): byte for byte, sign in byte_signs().items()}
    latin[ord(byte_signs()["\0"])] = NULL
    model = sentencepiece_model_pb2.ModelProto()
    for token in sorted(vocabulary, key=vocabulary.get):
        word, end = token.removesuffix(_END_OF_WORD), token.endswith(_END_OF_WORD)
        score, kind, piece = 0.0, _Piece.NORMAL, word.translate(latin)
        if token == "<|endoftext|>":
            kind, piece = _Piece.UNKNOWN, token
        elif token == "<|startoftext|>":
            kind, piece = _Piece.CONTROL, token
        elif token in ranks:
            score = -float(ranks[token])
        elif end:
            score = 1.0  # a last letter and its end of word come before all merges
        model.pieces.add(piece=piece + _SPACE * end, score=score, type=kind)
    trainer = model.trainer_spec
    trainer.treat_whitespace_as_suffix = True
    trainer.unk_piece = "<|endoftext|>"
    return _finish(model, unk_id=vocabulary["<|endoftext|>"], add_dummy_prefix=True)


def byte_level_model(
    vocabulary: dict[str, int], merges: list[str]
) -> tuple[bytes, int]:
    """GPT-2's byte pairs. Its input is words, whose bytes are read as Latin-1.

    After each word stands `WORD_END`, and `NULL_BYTE` stands for the byte 0.

    Args:
        vocabulary: Token to id.
        merges: Merge rules such as `"i n"`, the first one first.

    Returns:
        A serialised SentencePiece model, and the id of what it does not know: word
        ends and bytes outside of the vocabulary.
    """
    ranks = _ranks(merges)
    latin = {ord(sign): byte for byte, sign in byte_signs().items()}
    latin[ord(byte_signs()["\0"])] = chr(NULL_BYTE)
    latin[ord(byte_signs()[" "])] = _SPACE
    never = {byte_signs()[chr(NULL_BYTE)], byte_signs()[chr(WORD_END)]}
    tokens = {index: token for token, index in vocabulary.items()}
    size = max(tokens) + 1
    model = sentencepiece_model_pb2.ModelProto()
    for index in range(size):
        token = tokens.get(index)
        if token in ranks:
            piece, score, kind = token.translate(latin), -float(ranks[token]), "NORMAL"
        elif token is not None and len(token) == 1 and token not in never:
            piece, score, kind = token.translate(latin), 0.0, "NORMAL"
        else:  # a special token, or a hole in the vocabulary: no text makes it
            piece, score, kind = f"\u2400{index}", 0.0, "CONTROL"
        model.pieces.add(piece=piece, score=score, type=_Piece.Type.Value(kind))
    model.pieces.add(piece="\u2400", type=_Piece.UNKNOWN)
    model.trainer_spec.unk_piece = "\u2400"
    return _finish(model, unk_id=size, add_dummy_prefix=False), size


def gemma_model(tokenizer: dict) -> bytes:
    """Byte pairs with byte fallback, as Gemma's and SigLIP 2's `tokenizer.json`."""
    vocabulary = tokenizer["model"]["vocab"]
    ranks = _ranks(tokenizer["model"]["merges"])
    unknown = tokenizer["model"]["unk_token"]
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    model = sentencepiece_model_pb2.ModelProto()
    for token in sorted(vocabulary, key=vocabulary.get):
        kind = _Piece.NORMAL
        if token == unknown:
            kind = _Piece.UNKNOWN
        elif token in added:
            special = added[token]["special"]
            kind = _Piece.CONTROL if special else _Piece.USER_DEFINED
        elif len(token) == 6 and token.startswith("<0x"):
            kind = _Piece.BYTE
        score = -float(ranks.get(token, len(ranks)))
        model.pieces.add(piece=token, score=score, type=kind)
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_piece = unknown
    return _finish(model, unk_id=vocabulary[unknown], add_dummy_prefix=False)


def unigram_model(tokenizer: dict) -> bytes:
    """A unigram model, as T5's and SigLIP's `tokenizer.json`."""
    unknown = tokenizer["model"]["unk_id"]
    special = {t["content"] for t in tokenizer["added_tokens"] if t["special"]}
    model = sentencepiece_model_pb2.ModelProto()
    for index, (token, score) in enumerate(tokenizer["model"]["vocab"]):
        kind = _Piece.CONTROL if token in special else _Piece.NORMAL
        kind = _Piece.UNKNOWN if index == unknown else kind
        model.pieces.add(piece=token, score=score, type=kind)
        if index == unknown:
            model.trainer_spec.unk_piece = token
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    for step in _steps(tokenizer.get("normalizer")):
        if step["type"] == "Precompiled":
            rules = base64.b64decode(step["precompiled_charsmap"])
            model.normalizer_spec.precompiled_charsmap = rules
    spec = model.normalizer_spec
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = True
    return _finish(model, unk_id=unknown)


def byte_signs() -> dict[str, str]:
    """From each byte, as a Latin-1 character, to the sign that stands for it.

    The signs are GPT-2's and CLIP's, in the order of CLIP's vocabulary.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    signs = {chr(byte): chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return signs | {chr(byte): chr(256 + n) for n, byte in enumerate(others)}


def merges_of(model: bytes) -> list[tuple[str, str]]:
    """The merge rules that a SentencePiece model of byte pairs amounts to."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    ids = {p.piece: i for i, p in enumerate(proto.pieces) if p.type == _Piece.NORMAL}
    merges = []
    for token, index in ids.items():
        parts = [(token[:at], token[at:]) for at in range(1, len(token))]
        parts = [(a, b) for a, b in parts if a in ids and b in ids]
        parts.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(proto.pieces[index].score, pair) for pair in parts]
    merges.sort(key=lambda merge: (-merge[0], -len(merge[1][0]), -len(merge[1][1])))
    return [pair for _, pair in merges]


def _ranks(merges: list[str | list[str]]) -> dict[str, int]:
    ranks = {}
    for rank, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault("".join(parts), rank)
    return ranks


def _steps(normaliser: dict | None) -> list[dict]:
    if normaliser is None:
        return []
    return normaliser.get("normalizers", [normaliser])


def _finish(model, unk_id: int, add_dummy_prefix: bool | None = None) -> bytes:
    if add_dummy_prefix is not None:
        model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
        model.normalizer_spec.name = "identity"
        model.normalizer_spec.add_dummy_prefix = add_dummy_prefix
        model.normalizer_spec.remove_extra_whitespaces = False
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.unk_id = unk_id
    model.trainer_spec.bos_id = model.trainer_spec.eos_id = -1
    model.trainer_spec.pad_id = -1
    return model.SerializeToString()
