"""What one record on disk is: the feature dictionaries of the data directories.

TensorFlow Datasets is slow to import, so it is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmmft.data.text_schema import question_context as question_context
from kmmft.data.text_schema import rated as rated
from kmmft.data.text_schema import tagged as tagged
from kmmft.data.text_schema import text_to_text as text_to_text

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def image_text() -> tfds.features.FeaturesDict:
    """An image with one or several captions.

    Several captions of one image belong in one record, so that no batch takes one
    of them for a negative of another.

    Returns:
        `tfds.features.FeaturesDict` with `id` (text), `image` (kept encoded on
        disk) and `captions` (sequence of texts).

    Example:
        >>> sorted(kmmft.data.schema.image_text())
        ['captions', 'id', 'image']
    """
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "id": text(),
            "image": tfds.features.Image(),
            "captions": tfds.features.Sequence(text()),
        }
    )


def video_text() -> tfds.features.FeaturesDict:
    """A video, as some of its frames, with one or several captions.

    The frames are taken when the data is built (`tfrecords_tools.read_video`), evenly
    over the video and in its order; records may have different numbers of them. Named
    `video`, as the modality that reads them.

    Returns:
        `tfds.features.FeaturesDict` with `id` (text), `video` (sequence of images,
        kept encoded on disk) and `captions` (sequence of texts).

    Example:
        >>> sorted(kmmft.data.schema.video_text())
        ['captions', 'id', 'video']
    """
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    frame = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
    return tfds.features.FeaturesDict(
        {
            "id": text(),
            "video": tfds.features.Sequence(frame),
            "captions": tfds.features.Sequence(text()),
        }
    )


def audio_text() -> tfds.features.FeaturesDict:
    """A sound with one or several captions, or with what is said in it.

    The sound stays the WAV, FLAC or Ogg file that it was, unless the data are built
    with `audio_to_wav`: `kmmft.encoders.AudioEncoder` decodes WAV only. How many
    samples it has (of each channel) and how many of them make a second stand beside it,
    so that records can be chosen and sorted by length without being decoded.

    Returns:
        `tfds.features.FeaturesDict` with `id` (text), `audio` (bytes of a file),
        `sample_rate` (int32, Hz), `num_samples` (int64) and `captions` (sequence of
        texts).

    Example:
        >>> sorted(kmmft.data.schema.audio_text())
        ['audio', 'captions', 'id', 'num_samples', 'sample_rate']
    """
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {"id": text(), "captions": tfds.features.Sequence(text()), **_audio()}
    )


def image_question_answer(
    several_answers: bool = False,
) -> tfds.features.FeaturesDict:
    """A question about an image, with its answer.

    `image_id` is shared by the questions about one image. `question_type` groups the
    questions in reports and may be empty.

    Args:
        several_answers: Whether records also have the `answers` of all people who were
            asked, as in VQA v2; `answer` is then the most frequent of them.

    Returns:
        `tfds.features.FeaturesDict` with `id`, `image` (kept encoded on disk),
        `image_id`, `question`, `question_type` and `answer` (texts), and `answers`
        (sequence of texts) where asked for.

    Example:
        >>> sorted(kmmft.data.schema.image_question_answer())
        ['answer', 'id', 'image', 'image_id', 'question', 'question_type']
    """
    import tensorflow_datasets as tfds

    names = ("id", "image_id", "question", "question_type", "answer")
    features = {name: tfds.features.Text() for name in names}
    features["image"] = tfds.features.Image()
    if several_answers:
        features["answers"] = tfds.features.Sequence(tfds.features.Text())
    return tfds.features.FeaturesDict(features)


def labelled(
    image: bool = True,
    text: bool = True,
    class_names: Sequence[str] | None = None,
    *,
    audio: bool = False,
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    text_pair: bool = False,
) -> tfds.features.FeaturesDict:
    """An image or a sound, a text, columns of a table, or several, with a class label.

    A record may lack some of them: then its image or text is empty, its number NaN, its
    category the empty string. Models with `missing_modalities` take such records.

    Args:
        image: Whether records have an `image` (kept encoded on disk).
        text: Whether records have a `text`.
        class_names: Names of the classes. The label of a class is its position.
        audio: Whether records have an `audio`, with `sample_rate` and `num_samples`
            as in `audio_text`.
        numbers: Names of columns with numbers, float32 features of these names.
        categories: Names of columns with categories, text features of these names.
        text_pair: Whether records have a second text, `text_pair`, such as the
            hypothesis beside a premise.

    Returns:
        `tfds.features.FeaturesDict` with `id`, `label`, and what is asked for.

    Raises:
        ValueError: If there is neither image nor text nor audio nor column, if a
            column's name is taken, or if `class_names` is empty or names a class twice.

    Example:
        >>> features = kmmft.data.schema.labelled(class_names=["cat", "dog"])
        >>> features["label"].str2int("dog")
        1
    """
    if not (image or text or audio or numbers or categories):
        raise ValueError(
            "A labelled record needs an image, a text, an audio or a column. Received: "
            "image=False, text=False, audio=False and no columns. Set one of them."
        )
    names = list(class_names or [])
    if not names or len(set(names)) != len(names):
        raise ValueError(
            "`class_names` must list each class once, and at least one. "
            f"Received: class_names={class_names}. Pass the names of the classes in "
            "the order of their labels."
        )
    import tensorflow_datasets as tfds

    features = {
        "id": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=names),
    }
    if image:
        features["image"] = tfds.features.Image()
    if text:
        features["text"] = tfds.features.Text()
    if text_pair:
        features["text_pair"] = tfds.features.Text()
    if audio:
        features |= _audio()
    columns = _columns(numbers, categories, taken=[*features, "image", "text", "audio"])
    return tfds.features.FeaturesDict(features | columns)


def _columns(
    numbers: Sequence[str], categories: Sequence[str], taken: Sequence[str]
) -> dict[str, tfds.features.FeatureConnector]:
    import numpy as np
    import tensorflow_datasets as tfds

    names = [*numbers, *categories]
    for place, name in enumerate(names):
        if name in (*taken, *names[:place]):
            raise ValueError(
                "A column's name must be no other feature's. Received: a second "
                f"{name!r}. Rename the column."
            )
    return {name: tfds.features.Scalar(np.float32) for name in numbers} | {
        name: tfds.features.Text() for name in categories
    }


def _audio() -> dict[str, tfds.features.FeatureConnector]:
    import numpy as np
    import tensorflow_datasets as tfds

    return {
        # TFDS's own Audio would decode what it opens, by a program that few have.
        "audio": tfds.features.Tensor(shape=(), dtype=np.object_),
        "sample_rate": tfds.features.Scalar(np.int32),
        "num_samples": tfds.features.Scalar(np.int64),
    }
