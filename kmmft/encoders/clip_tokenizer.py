"""CLIP's tokenizer inside a TensorFlow graph, equal to Hugging Face's."""

import json
import pathlib

import keras
import keras_hub
import tensorflow as tf

from kmmft.encoders.byte_pairs import tokens_of_words
from kmmft.encoders.families import lower_letters
from kmmft.encoders.sentencepiece_models import NULL, clip_model

# What Unicode and Python call white space; RE2's \s knows only five of them.
_SPACES = r"[\s\p{Z}\x{85}\x{0b}]+"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


@keras.saving.register_keras_serializable("kmmft")
class ClipTokenizer(keras_hub.tokenizers.SentencePieceTokenizer):
    """CLIP's byte pair encoding, run by SentencePiece.

    Gives the same ids as `transformers.CLIPTokenizer`, eagerly and in a graph;
    `keras_hub.tokenizers.CLIPTokenizer` differs on some texts in a graph. A special
    token's name in a text is read as a text. open_clip also mends broken encodings
    and HTML entities first (with ftfy), which a graph cannot.

    Args:
        vocabulary: dict of token to id.
        merges: Merge rules such as `"i n"`, the first one first.
        pad_token_id: Id of padding. Defaults to the end token's, as in
            `transformers`; open_clip pads with 0.

    Call arguments:
        inputs: string tensor `(batch,)`.

    Returns:
        Ragged int32 tensor `(batch, None)` without start and end token; a list of
        lists when called outside of a graph.

    Raises:
        ValueError: If a merge rule makes or takes a token that is not in the
            vocabulary, or the ids are not 0, 1, 2, ...

    Example:
        >>> tokens = ["c", "a", "t", "t</w>", "ca", "cat</w>"]
        >>> tokens += ["<|startoftext|>", "<|endoftext|>"]
        >>> tokenizer = kmmft.encoders.ClipTokenizer(
        ...     {token: index for index, token in enumerate(tokens)},
        ...     ["c a", "ca t</w>"])
        >>> tokenizer(["Cat cat"])
        [[5, 5]]

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), section 2.4.
        - [Sennrich et al., 2015](https://arxiv.org/abs/1508.07909), section 3.2.
    """

    cleans_text = True

    def __init__(
        self,
        vocabulary: dict[str, int] | None = None,
        merges: list[str] | None = None,
        pad_token_id: int | None = None,
        **kwargs,
    ):
        self._add_special_token("<|startoftext|>", "start_token")
        self._add_special_token("<|endoftext|>", "end_token")
        self.pad_token_id = pad_token_id
        super().__init__(**kwargs)
        self.vocabulary = self.merges = None
        self.file_assets = ["vocabulary.json", "merges.txt"]
        if vocabulary is not None:
            self.set_vocabulary_and_merges(vocabulary, merges)

    def set_vocabulary_and_merges(
        self, vocabulary: dict[str, int], merges: list[str]
    ) -> None:
        """Sets what the tokenizer knows; see the constructor."""
        _check_vocabulary(vocabulary, merges)
        self.vocabulary = vocabulary
        self.merges = merges
        self.set_proto(clip_model(vocabulary, merges))
        if self.pad_token_id is None:
            self.pad_token_id = self.end_token_id

    def tokenize(self, inputs: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of texts; always by TensorFlow ops, the only path."""
        return self._tokenize_tf(_words(tf.convert_to_tensor(inputs)))

    def detokenize(self, inputs):
        raise NotImplementedError("`ClipTokenizer` does not turn ids into texts")

    # === Saving ===
    def save_assets(self, dir_path: str) -> None:
        directory = pathlib.Path(dir_path)
        vocabulary, merges = self.file_assets
        (directory / vocabulary).write_text(json.dumps(self.vocabulary))
        (directory / merges).write_text("\n".join(self.merges), encoding="utf-8")

    def load_assets(self, dir_path: str) -> None:
        vocabulary, merges = (pathlib.Path(dir_path, n) for n in self.file_assets)
        self.set_vocabulary_and_merges(
            json.loads(vocabulary.read_text(encoding="utf-8")),
            merges.read_text(encoding="utf-8").split("\n"),
        )

    def get_config(self) -> dict:
        config = super().get_config()
        del config["proto"]
        # Vocabulary and merges are saved as assets.
        return {**config, "pad_token_id": self.pad_token_id}


def clip_tokens(
    tokenizer: ClipTokenizer | keras_hub.tokenizers.CLIPTokenizer, texts: tf.Tensor
) -> tf.RaggedTensor:
    """The token ids that `ClipTokenizer` gives, several times faster in large batches.

    Args:
        tokenizer: Gives vocabulary and merges.
        texts: string tensor `(batch,)` of valid UTF-8.

    Returns:
        Ragged int32 tensor `(batch, None)`.

    Raises:
        ValueError: As `ClipTokenizer`.
    """
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    merges = [rule for rule in tokenizer.merges if not rule.startswith("#version")]
    _check_vocabulary(tokenizer.vocabulary, merges)
    model = clip_model(tokenizer.vocabulary, merges)
    # Made anew for each graph: the model is a constant, which lives with the graph.
    pieces = tf_text.SentencepieceTokenizer(model, out_type=tf.int32)
    return tokens_of_words(pieces, tf.strings.split(_words(texts)))


def _words(texts: tf.Tensor) -> tf.Tensor:
    """Cleaned words with one space between them, each byte as a character."""
    import tensorflow_text as tf_text  # slow, and loaded by KerasHub anyway

    texts = lower_letters(tf_text.normalize_utf8(texts, "NFC"))
    texts = tf.strings.regex_replace(texts, _SPACES, " ")
    texts = tf.strings.regex_replace(texts, _WORDS, r"\0 ")
    texts = tf.strings.strip(tf.strings.regex_replace(texts, " +", " "))
    texts = tf.strings.unicode_transcode(texts, "ISO-8859-1", "UTF-8")
    return tf.strings.regex_replace(texts, r"\x{00}", NULL)


def _check_vocabulary(vocabulary: dict[str, int], merges: list[str]) -> None:
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(
            "`vocabulary` must give each id from 0 on to one token. Received: ids of "
            f"{len(vocabulary)} tokens that are not 0 to {len(vocabulary) - 1}"
        )
    missing = {"<|startoftext|>", "<|endoftext|>"} - vocabulary.keys()
    if missing:
        raise ValueError(
            "`vocabulary` must hold <|startoftext|> and <|endoftext|>. Received: one "
            f"without {', '.join(sorted(missing))}. Take the vocabulary of a CLIP"
        )
    for merge in merges:
        parts = merge.split(" ")
        if len(parts) != 2 or not {*parts, "".join(parts)} <= vocabulary.keys():
            raise ValueError(
                "`merges` must be rules such as 'i n' over tokens of the vocabulary. "
                f"Received: {merge!r}. Take vocabulary and merges of one checkpoint"
            )
