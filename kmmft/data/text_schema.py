"""What one record of a text task is; public as `kmmft.data.schema.tagged`, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def rated(text_pair: bool = False, image: bool = False) -> tfds.features.FeaturesDict:
    """A text, or two, with a number: a rating, a likeness, a price.

    Args:
        text_pair: Whether records have a second text, `text_pair`.
        image: Whether they have an `image` beside the text (kept encoded on disk).

    Returns:
        `tfds.features.FeaturesDict` with `id` and `text` (texts), `label` (float32)
        and perhaps `text_pair` and `image`.

    Example:
        >>> sorted(kmmft.data.schema.rated(text_pair=True))
        ['id', 'label', 'text', 'text_pair']
    """
    import numpy as np
    import tensorflow_datasets as tfds

    names = ["id", "text", *(["text_pair"] if text_pair else [])]
    return tfds.features.FeaturesDict(
        {name: tfds.features.Text() for name in names}
        | {"label": tfds.features.Scalar(np.float32)}
        | ({"image": tfds.features.Image()} if image else {})
    )


def text_to_text() -> tfds.features.FeaturesDict:
    """A text, and one or several texts to be written from it.

    Translations, summaries, the next turn of a dialogue. Several of one text belong in
    one record: all of them are references in a test.

    Returns:
        `tfds.features.FeaturesDict` with `id` and `text` (texts) and `targets`
        (sequence of texts).

    Example:
        >>> sorted(kmmft.data.schema.text_to_text())
        ['id', 'targets', 'text']
    """
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {"id": text(), "text": text(), "targets": tfds.features.Sequence(text())}
    )


def tagged(tag_names: Sequence[str], image: bool = False) -> tfds.features.FeaturesDict:
    """A sentence as words, each with a tag: named entities, parts of speech.

    Args:
        tag_names: Names of the tags, such as `["O", "B-PER", "I-PER"]`. The number of
            a tag is its position.
        image: Whether each sentence has an `image` beside it (kept encoded on disk).

    Returns:
        `tfds.features.FeaturesDict` with `id`, `words` (sequence of texts without
        white space), `tags` (as many class labels) and perhaps `image`.

    Raises:
        ValueError: If `tag_names` are fewer than two or name a tag twice.

    Example:
        >>> kmmft.data.schema.tagged(["O", "B-PER", "I-PER"])["tags"].feature.names
        ['O', 'B-PER', 'I-PER']
    """
    names = list(tag_names)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(
            "`tag_names` must list each tag once, and at least two. "
            f"Received: tag_names={names}."
        )
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=names)
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "words": tfds.features.Sequence(tfds.features.Text()),
            "tags": tfds.features.Sequence(label),
        }
        | ({"image": tfds.features.Image()} if image else {})
    )


def question_context() -> tfds.features.FeaturesDict:
    """A question about a text, with the places of the text that answer it.

    As in SQuAD: `answers` are pieces of `context` as several people chose them, and
    `answer_starts` their places, in characters. Neither has an element where the
    context holds no answer (SQuAD v2).

    Returns:
        `tfds.features.FeaturesDict` with `id`, `title`, `question` and `context`
        (texts), `answers` (sequence of texts) and `answer_starts` (as many int64).

    Example:
        >>> sorted(kmmft.data.schema.question_context())
        ['answer_starts', 'answers', 'context', 'id', 'question', 'title']
    """
    import numpy as np
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {name: tfds.features.Text() for name in ("id", "title", "question", "context")}
        | {
            "answers": tfds.features.Sequence(tfds.features.Text()),
            "answer_starts": tfds.features.Sequence(tfds.features.Scalar(np.int64)),
        }
    )
