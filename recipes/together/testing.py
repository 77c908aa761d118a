"""How well a model does each task."""

from collections.abc import Callable

import keras
import numpy as np

import kmmft
from kmmft.evaluation import Predictions

from .data import task_batches
from .settings import Config

# What a task's accuracy is the share of.
MEANINGS = {
    "match": "pictures whose nearest caption is theirs",
    "caption": "pictures whose written caption is one of theirs",
    "answer": "questions",
    "classify": "pictures",
}


def accuracy(
    config: Config,
    task: str,
    source: kmmft.data.RecordSource,
    model: keras.Model,
    split: str = "test",
) -> float:
    """The share of a split's records that the model gets right."""
    measure: Callable[..., float] = {"match": _matched, "caption": _captioned}.get(
        task, _answered
    )
    return measure(config, task, source, model, split)


def predictions(
    config: Config,
    task: str,
    source: kmmft.data.RecordSource,
    model: keras.Model,
    split: str = "test",
) -> Predictions:
    """A classifier's answers, beside the records."""
    batches = task_batches(config, task, source, split, model, keep_records=True)
    return kmmft.evaluation.predict_records(model, batches).with_unknown_class()


def _answered(config, task, source, model, split) -> float:
    found = predictions(config, task, source, model, split)
    return float((found.classes == found.records["label"]).mean())


def _matched(config, task, source, model, split) -> float:
    encoded = kmmft.evaluation.encode_records(
        model,
        source,
        split,
        {"image": "image", "text": "captions"},
        max_bad_fraction=config.max_bad_fraction,
    )
    return kmmft.evaluation.own_caption_share(encoded)


def _captioned(config, task, source, model, split) -> float:
    written = kmmft.evaluation.write_about_records(
        model, source, split, max_bad_fraction=config.max_bad_fraction
    )
    return float(
        np.mean(
            [
                _key(text) in map(_key, people)
                for text, people in zip(written.texts, written.references, strict=True)
            ]
        )
    )


def _key(text: str) -> str:
    """What a text is without its case and the spaces that a tokenizer may set."""
    return "".join(text.lower().split())
