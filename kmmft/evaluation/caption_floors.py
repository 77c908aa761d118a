"""Captions, and other texts, to be had without a model that writes."""

import collections
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from kmmft.data import RecordSource
from kmmft.evaluation.search_index import SearchIndex
from kmmft.evaluation.written_texts import WrittenTexts, captioned_batches


def caption_floors(
    model: keras.Model,
    source: RecordSource,
    train: str = "train",
    test: str = "test",
    references: str = "captions",
    max_bad_fraction: float = 1e-3,
    modality: str = "image",
) -> dict[str, WrittenTexts]:
    """What a captioning model must beat: two ways to copy people's captions.

    Call it before training, which changes the encoder.

    Args:
        model: `kmmft.models.FusionGenerator` or `CoCa`, with an encoder of `modality`.
        source: Where the records are.
        train: Split to copy captions from.
        test: Split to caption.
        references: Feature with people's texts, a list.
        max_bad_fraction: Largest fraction of records that may be bad.
        modality: What the texts are about: `"image"`, or `"text"` for a model that
            writes texts from texts.

    Returns:
        `most_frequent`, the first caption that most training records have, and
        `nearest`, the first caption of the training picture (or text) whose pooled
        vector has the largest cosine.

    Example::

        floors = kmmft.evaluation.caption_floors(model, source)
        floors["nearest"].metrics()["cider_d"]
    """
    options = (references, max_bad_fraction, modality)
    vectors, _, own = _encoded(model, source, train, *options)
    first = [texts[0] for texts in own]
    questions, ids, people = _encoded(model, source, test, *options)
    rows, _ = SearchIndex(vectors).search_rows(questions, 1)
    nearest = WrittenTexts(ids, [first[row] for row in rows[:, 0]], people)
    ((most, _),) = collections.Counter(first).most_common(1)
    return {
        "most_frequent": dataclasses.replace(nearest, texts=[most] * len(ids)),
        "nearest": nearest,
    }


def _encoded(model, source, split, references, max_bad_fraction, modality):
    """Pooled vectors of a split's pictures, their ids and their captions."""
    encoder = model.encoders[modality]
    encode = tf.function(lambda x: encoder(x, training=False)["pooled"])
    vectors, ids, lists = [], [], []
    for batch, people in captioned_batches(
        model, source, split, references, 64, max_bad_fraction
    ):
        vectors.append(encode(model.select(modality, batch)).numpy())
        ids += [name.decode(errors="replace") for name in batch["id"].numpy()]
        lists += people
    return np.concatenate(vectors), ids, lists
