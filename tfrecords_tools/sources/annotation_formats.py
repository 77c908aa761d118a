"""The formats in which data sets of images and texts are published, as rows.

Each function yields where an entry stands, and its values: `image` (name of the
file), the texts, `id`, and `split` where the format knows it. What an entry lacks is
left out of its row.
"""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from tfrecords_tools.bad_rows import Place
from tfrecords_tools.sources.json_values import load_json
from tfrecords_tools.sources.manifest_columns import ManifestColumns

Format = Literal[
    "coco",
    "karpathy",
    "flickr30k",
    "vqa2",
    "gqa",
    "snli_ve",
    "hateful_memes",
    "conceptual_captions",
]
Rows = Iterator[tuple[Place, dict[str, Any]]]


def coco(file: pathlib.Path) -> Rows:
    """COCO captions: `images` with `id` and `file_name`, `annotations` of them."""
    content = _load(file, "images", "annotations")
    images = _by_key(file, content["images"], "id")
    for place, entry in _entries(file, content["annotations"]):
        image_id = entry.get("image_id")
        yield (
            place,
            {
                "image": images.get(image_id, {}).get("file_name"),
                "caption": entry.get("caption"),
                "id": str(image_id),
            },
        )


def karpathy(file: pathlib.Path) -> Rows:
    """Karpathy's splits of COCO and Flickr: `images` with `split` and `sentences`."""
    for place, image in _entries(file, _load(file, "images")["images"]):
        folder, name = image.get("filepath"), image.get("filename")
        split = image.get("split")
        yield (
            place,
            {
                "image": f"{folder}/{name}" if folder else name,
                "caption": [one.get("raw") for one in image.get("sentences", [])],
                "split": "train" if split == "restval" else split,
                "id": str(image.get("cocoid", image.get("imgid", name))),
            },
        )


def flickr30k(file: pathlib.Path) -> Rows:
    """Flickr30k tokens: lines of `1000092795.jpg#0`, a tab and a caption."""
    for place, line in _lines(file):
        image, _, caption = line.partition("\t")
        name = image.rpartition("#")[0] or image
        yield place, {"image": name, "caption": caption, "id": name}


def vqa2(file: pathlib.Path, questions: pathlib.Path) -> Rows:
    """VQA v2: questions in one file, their answers in the other."""
    content = _load(questions, "questions")
    asked = _by_key(questions, content["questions"], "question_id")
    subset = content.get("data_subtype", "")
    for place, entry in _entries(file, _load(file, "annotations")["annotations"]):
        question = asked.get(entry.get("question_id"), {})
        image_id = entry.get("image_id")
        image = None
        if isinstance(image_id, int):
            image = (
                f"COCO_{subset}_{image_id:012d}.jpg" if subset else f"{image_id}.jpg"
            )
        yield (
            place,
            {
                "image": image,
                "question": question.get("question"),
                "answer": entry.get("multiple_choice_answer"),
                "answers": [one.get("answer") for one in entry.get("answers", [])],
                "id": str(entry.get("question_id")),
            },
        )


def gqa(file: pathlib.Path) -> Rows:
    """GQA: one object of questions by their id."""
    for number, value in _load(file).items():
        place, entry = _checked(Place(f"{file.name} question {number}"), value)
        yield (
            place,
            {
                "image": f"{entry.get('imageId')}.jpg",
                "question": entry.get("question"),
                "answer": entry.get("answer"),
                "id": number,
            },
        )


def snli_ve(file: pathlib.Path) -> Rows:
    """SNLI-VE: hypotheses about Flickr30k's images, but for those without a label."""
    for place, entry in _json_lines(file):
        if entry.get("gold_label") != "-":
            yield (
                place,
                {
                    "image": f"{entry.get('Flickr30K_ID')}.jpg",
                    "text": entry.get("sentence2"),
                    "label": entry.get("gold_label"),
                    "id": entry.get("pairID"),
                },
            )


def hateful_memes(file: pathlib.Path) -> Rows:
    """Hateful Memes: images with the text in them; 1 is hateful."""
    for place, entry in _json_lines(file):
        yield (
            place,
            {
                "image": entry.get("img"),
                "text": entry.get("text"),
                "label": entry.get("label"),
                "id": str(entry.get("id")),
            },
        )


def conceptual_captions(file: pathlib.Path) -> Rows:
    """Conceptual Captions over local files: a caption, a tab, a file; no header."""
    for place, line in _lines(file):
        caption, _, image = line.partition("\t")
        yield place, {"image": image, "caption": caption, "id": image}


def columns(format: Format) -> ManifestColumns:
    """What the rows of a format make."""
    texts = {
        "vqa2": ("question", "answer", "answers"),
        "gqa": ("question", "answer"),
        "snli_ve": ("text", "label"),
        "hateful_memes": ("text", "label"),
    }.get(format, ("caption",))
    return ManifestColumns(
        image="image", id="id", split="split", **{name: name for name in texts}
    )


READERS: dict[str, Callable[..., Rows]] = {
    name: globals()[name] for name in get_args(Format)
}


def _load(file: pathlib.Path, *keys: str) -> dict[str, Any]:
    try:
        content = load_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"An annotation file must be JSON. Received: {file} ({error}); mend it."
        ) from error
    missing = [key for key in keys if key not in content]
    if missing or not isinstance(content, dict):
        raise ValueError(
            f"The file must be an object with {', '.join(keys)}. Received: {file} "
            f"without {', '.join(missing)}; choose another format."
        )
    return content


def _entries(file: pathlib.Path, entries: list[dict[str, Any]]) -> Rows:
    for number, entry in enumerate(entries):
        yield _checked(Place(f"{file.name} entry {number}"), entry)


def _by_key(file: pathlib.Path, entries: list[dict[str, Any]], key: str) -> dict:
    """Entries by a key that each must have, and no two alike."""
    found = {}
    for place, entry in _entries(file, entries):
        value = entry.get(key)
        if value is None or value in found:
            told = "has none" if value is None else f"has that of another, {value!r}"
            raise ValueError(
                f"{place}: each must have {key!r} of its own. Received: one that "
                f"{told}; mend the file."
            )
        found[value] = entry
    return found


def _json_lines(file: pathlib.Path) -> Rows:
    for place, line in _lines(file):
        try:
            entry = load_json(line)
        except ValueError as error:
            raise ValueError(
                f"{place}: The line is not valid JSON ({error}); mend it."
            ) from error
        yield _checked(place, entry)


def _checked(place: Place, entry: Any) -> tuple[Place, dict[str, Any]]:
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: It must be an object, not {entry!r:.40}; mend it.")
    return place, entry


def _lines(file: pathlib.Path) -> Iterator[tuple[Place, str]]:
    with open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield Place(file.name, number), line.rstrip("\r\n")
