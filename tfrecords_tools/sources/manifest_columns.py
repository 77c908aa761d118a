"""Which columns of a manifest hold what, and what records they make."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True)
class ManifestColumns:
    """Names of the columns of a manifest; None for those it does not have.

    Raises:
        ValueError: If the columns do not make a record.

    Example:
        >>> ManifestColumns(image="file", caption="text").kind
        'image_text'
    """

    image: str | None = None
    video: str | None = None
    audio: str | None = None
    caption: str | None = None
    label: str | None = None
    text: str | None = None
    text_pair: str | None = None
    target: str | None = None
    target_text: str | None = None
    question: str | None = None
    answer: str | None = None
    answers: str | None = None
    id: str | None = None
    split: str | None = None
    group: str | None = None
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    def __post_init__(self):
        given = {
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name)
        } - {"id", "split", "group"}
        # A table's columns go with any label.
        if {"label"} < given and given & {"numbers", "categories"}:
            given = given - {"numbers", "categories"} | {"text"}
        if given not in (
            {"image", "caption"},
            {"video", "caption"},
            {"audio", "caption"},
            {"image", "question", "answer"},
            {"image", "question", "answer", "answers"},
            {"image", "label"},
            {"text", "label"},
            {"text", "text_pair", "label"},
            {"text", "target"},
            {"text", "text_pair", "target"},
            {"text", "target_text"},
            {"image", "text", "label"},
            {"image", "text", "text_pair", "label"},
            {"image", "text", "target"},
            {"image", "text", "text_pair", "target"},
            {"audio", "label"},
            {"audio", "text", "label"},
            {"image", "audio", "label"},
            {"image", "audio", "text", "label"},
        ):
            received = ", ".join(map(_option, sorted(given))) or "none"
            raise ValueError(
                "The columns must be image and caption; or video and caption; or audio "
                "and caption; or image, question, answer (and answers); or label with "
                "any of image, audio and text, and numbers and categories; or label or "
                "target with text and perhaps text_pair and image; or target_text with "
                "text (and id, and split or group, with any). "
                f"Received: {received}; give the --..._column flags of one of these."
            )

    @property
    def kind(self) -> str:
        """What the records are: the name of a function of `kmmft.data.schema`."""
        if self.caption:
            return f"{self.medium}_text"
        if self.target_text:
            return "text_to_text"
        if self.target:
            return "rated"
        return "image_question_answer" if self.question else "labelled"

    @property
    def all_media(self) -> list[str]:
        """Those of `image`, `video` and `audio` that are read from files."""
        return [m for m in ("image", "video", "audio") if getattr(self, m)]

    @property
    def medium(self) -> str | None:
        """The first of them, if there is one."""
        return next(iter(self.all_media), None)

    @property
    def media(self) -> str | None:
        """The column with the medium, if there is one."""
        return self.medium and getattr(self, self.medium)

    @property
    def names(self) -> list[str]:
        """The names of the columns, once each."""
        values = dataclasses.asdict(self)
        columns = [*values.pop("numbers"), *values.pop("categories")]
        names = [name for name in values.values() if name is not None]
        return list(dict.fromkeys(names + columns))

    def features(self, class_names: Iterable[str]) -> "tfds.features.FeaturesDict":
        """The schema of the records."""
        from kmmft.data import schema

        if self.kind == "rated":
            return schema.rated(
                text_pair=self.text_pair is not None, image=self.image is not None
            )
        if self.kind == "image_question_answer":
            return schema.image_question_answer(self.answers is not None)
        if self.kind != "labelled":
            return getattr(schema, self.kind)()
        return schema.labelled(
            image=self.image is not None,
            text=self.text is not None,
            audio=self.audio is not None,
            numbers=self.numbers,
            categories=self.categories,
            text_pair=self.text_pair is not None,
            class_names=list(class_names),
        )


def _option(name: str) -> str:
    plural = {"numbers": "number_columns", "categories": "category_columns"}
    return plural.get(name, f"{name}_column")
