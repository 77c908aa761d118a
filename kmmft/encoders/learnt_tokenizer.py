"""A tokenizer of the word pieces that some texts are best written in."""

import io
from collections.abc import Iterable

import keras_hub
import sentencepiece


def learn_tokenizer(
    texts: Iterable[str], vocabulary_size: int = 8000
) -> keras_hub.tokenizers.T5Tokenizer:
    """Learns SentencePiece's pieces (unigram) of texts, for a model from scratch.

    Any text can be cut into them and put together again, but for runs of white space,
    which become single spaces: letters that `texts` do not have become bytes.

    Args:
        texts: Texts, such as all of a training split.
        vocabulary_size: Most pieces; few texts give fewer. 256 of them are bytes.

    Returns:
        A `T5Tokenizer`: padding is 0, the end token 1.

    Raises:
        ValueError: If there are no texts, or `vocabulary_size` leaves no room.

    Example:
        >>> tokenizer = kmmft.encoders.learn_tokenizer(["Häuser", "Haus"], 300)
        >>> tokenizer.detokenize(tokenizer(["Haus Ω"]))
        ['Haus Ω']

    References:
        - [Kudo, 2018](https://arxiv.org/abs/1804.10959) (unigram pieces).
    """
    texts = list(texts)
    if not texts or vocabulary_size < 300:
        raise ValueError(
            "There must be texts, and room for 300 pieces. Received: "
            f"{len(texts)} texts, vocabulary_size={vocabulary_size}."
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocabulary_size,
        model_type="unigram",
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        num_threads=1,  # so that the same texts give the same pieces
    )
    return keras_hub.tokenizers.T5Tokenizer(model.getvalue())
