"""What a generator is made of, and whether encoders and decoder go together."""

from collections.abc import Mapping, Sequence

import keras

from kmmft.models.token_texts import TokenTexts


def check_parts(
    encoders: Mapping[str, keras.Model],
    decoder: keras.layers.Layer,
    texts: TokenTexts,
    target: str,
    read_directly: Sequence[str],
) -> None:
    """Raises unless a `FusionGenerator` can be made of its arguments.

    Args:
        encoders: As there, and so are the others.
        texts: Of its tokenizer.

    Raises:
        ValueError: As there.
    """
    if not encoders:
        raise ValueError("A FusionGenerator needs an encoder. Received: encoders={}.")
    if texts.has_vocabulary:
        words, known = texts.tokenizer.vocabulary_size(), decoder.vocabulary_size
        if abs(words - known) > getattr(decoder, "spare_words", 0):
            raise ValueError(
                "Tokenizer and decoder must have the same number of words. Received: "
                f"{words} and {known}."
            )
    for modality in read_directly:
        width = getattr(encoders.get(modality), "output", {}).get("tokens")
        if width is None or width.shape[-1] != decoder.hidden_dim:
            raise ValueError(
                "`read_directly` must name encoders of tokens as wide as the decoder, "
                f"{decoder.hidden_dim}. Received: {modality!r} of {list(encoders)}."
            )
    longest = decoder.max_length
    if longest is not None and texts.max_length - 1 > longest:
        raise ValueError(
            f"`max_length` must be at most {longest + 1} for this decoder. "
            f"Received: max_length={texts.max_length}."
        )
    if target in encoders:
        raise ValueError(
            "`target` must be no encoder's name: the text is written, not read. "
            f"Received: target={target!r} and the encoders {list(encoders)}."
        )


def decoder_texts(
    decoder: keras.layers.Layer, tokenizer: keras.layers.Layer, max_length: int
) -> TokenTexts:
    """Texts as a decoder writes them; some pretrained ones expect them otherwise."""
    return TokenTexts(
        tokenizer,
        max_length,
        getattr(decoder, "start_tokens", ("start",)),
        getattr(decoder, "end_piece", None),
        getattr(decoder, "clean", None),
    )


def to_width(
    hidden_dim: int, dtype: keras.DTypePolicy, modality: str
) -> keras.Sequential:
    """Layers that bring an encoder's normalised tokens to the decoder's width."""
    return keras.Sequential(
        [
            keras.layers.LayerNormalization(dtype=dtype),
            keras.layers.Dense(hidden_dim, dtype=dtype),
        ],
        name=f"{modality}_projection",
    )
