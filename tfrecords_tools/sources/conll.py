"""Builds a data directory from CoNLL's column files: a word and its tag a line."""

import dataclasses
import pathlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import Literal

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.image_bytes import EXTENSIONS
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.named_files import named_files, read_text
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

_ENTITY_TAG = re.compile(r"O|[BIELSUM]-\S+")
_IMAGE_LINE = re.compile(r"IMGID:\s*(\S+)\s*")


def build_conll(
    *,
    files: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    word_column: int = 0,
    tag_column: int = -1,
    scheme: Literal["entities", "any"] = "entities",
    comments: bool = False,
    image_folder: str | pathlib.Path | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes tagged sentences as records of the schema `tagged`.

    A line holds a word and what is said of it, in columns between tabs, or else
    between any white space; an empty line ends a sentence. Lines that begin with
    -DOCSTART- are passed over. With `image_folder`, a line such as IMGID:12345 before
    each sentence names the image beside it, as in the sets Twitter-2015 and -2017.

    Args:
        files: Each as SPLIT=FILE or FILE; without a split, sentences are split by a
            hash of their words.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        word_column: Number of the words' column, from 0.
        tag_column: Number of the tags' column; -1 is the last one.
        scheme: What a tag may be: `"entities"`, O or a prefix such as B and I with a
            dash and a kind; `"any"`, any word, such as a part of speech.
        comments: Whether lines that begin with # are comments (CoNLL-U), and words
            numbered as 3-4 or 3.1 are left out.
        image_folder: Folder of the images, 12345.jpg (or .png, ...) for IMGID:12345.
            Without splits, sentences are then split by a hash of their image's name.
        validation_fraction: Share for validation, where no split is given.
        test_fraction: Share for test, where no split is given.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If a file cannot be read, a line is bad, or the dataset exists.

    References:
        - [Tjong Kim Sang and De Meulder, 2003](https://aclanthology.org/W03-0419),
          section 2.1.
        - [Zhang et al., 2018](https://ojs.aaai.org/index.php/AAAI/article/view/11962)
          and [Lu et al., 2018](https://aclanthology.org/P18-1185) (tweets and their
          images).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    bad_rows = BadRows(options.skip_bad)
    folder = None if image_folder is None else _folder(image_folder)
    columns = _Columns(word_column, tag_column, scheme == "entities", comments, folder)
    records = []
    for number, (split, path) in enumerate(named_files(files)):
        # Files may have the same name in two folders.
        records += [
            sentence.record(split, f"{number}-{sentence.place.line:07d}")
            for sentence in columns.sentences(path, bad_rows)
        ]
    names = sorted({tag for record in records for tag in record.values["tags"]} - {"O"})
    if len(names) < 2 - (scheme == "entities"):
        raise ValueError(
            f"There must be tagged words. Received: the tags {names} in {list(files)}; "
            "look at word_column and tag_column."
        )
    return write_records(
        records,
        bad_rows,
        output_dir=output_dir,
        name=name,
        # Ordinary words first: that tag is the model's when in doubt.
        features=schema.tagged(
            ["O", *names] if scheme == "entities" else names, image=folder is not None
        ),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )


@dataclasses.dataclass
class _Sentence:
    """A sentence while it is read, at the place of its first line."""

    place: Place
    words: list[str] = dataclasses.field(default_factory=list)
    tags: list[str] = dataclasses.field(default_factory=list)
    image: pathlib.Path | None = None
    bad: bool = False

    def record(self, split: str | None, name: str) -> SourceRecord:
        values = {"id": name, "words": self.words, "tags": self.tags}
        group = self.image.name if self.image else " ".join(self.words)
        group = None if split else group
        return SourceRecord(split, values, self.image, (self.place,), group)


class _Columns:
    """Reads sentences out of columns."""

    def __init__(
        self,
        word_column: int,
        tag_column: int,
        entities: bool,
        comments: bool,
        image_folder: pathlib.Path | None,
    ):
        if word_column == tag_column:
            raise ValueError(
                "Words and tags must stand in two columns. Received: word_column="
                f"{word_column}, tag_column={tag_column}."
            )
        self.word_column = word_column
        self.tag_column = tag_column
        self.entities = entities
        self.comments = comments
        self.image_folder = image_folder

    def sentences(self, path: pathlib.Path, bad_rows: BadRows) -> Iterator[_Sentence]:
        """The sentences of a file.

        A sentence with a bad line is left out as a whole.
        """
        sentence = _Sentence(Place(path.name, 1))
        # Only line feeds end a line: words may hold other separators of Unicode.
        lines = re.split(r"\r?\n", read_text(path))
        for number, line in enumerate([*lines, ""], 1):
            if self._is_passed_over(line):
                continue
            ends, place = not line.strip(), Place(path.name, number)
            try:
                if ends:
                    self._check_whole(sentence)
                else:
                    self._add(sentence, line)
            except ValueError as error:
                bad_rows.add(sentence.place if ends else place, str(error))
                sentence.bad = True
            if ends:
                if sentence.words and not sentence.bad:
                    yield sentence
                sentence = _Sentence(Place(path.name, number + 1))

    def _check_whole(self, sentence: _Sentence) -> None:
        if self.image_folder is None or sentence.bad:
            return
        if sentence.words and sentence.image is None:
            raise ValueError(
                "The sentence has no line such as IMGID:12345 before it; add it, or "
                "leave image_folder out."
            )
        if sentence.image is not None and not sentence.words:
            raise ValueError("No sentence follows the line of the image; mend it.")

    def _add(self, sentence: _Sentence, line: str) -> None:
        image = _IMAGE_LINE.fullmatch(line)
        if image is None:
            word, tag = self._read(line)
            sentence.words.append(word)
            sentence.tags.append(tag)
            return
        if self.image_folder is None:
            raise ValueError(
                f"{line!r:.80} names an image; pass image_folder, where it lies, or "
                "take the line out."
            )
        if sentence.words or sentence.image is not None:
            raise ValueError(
                f"{line!r:.80} must be the one line of an image before its sentence; "
                "end the sentence above by an empty line."
            )
        sentence.image = _image_file(self.image_folder, image[1])

    def _is_passed_over(self, line: str) -> bool:
        if self.comments and (line.startswith("#") or re.match(r"\d+[-.]\d+\t", line)):
            return True
        return line.startswith("-DOCSTART-")

    def _read(self, line: str) -> tuple[str, str]:
        cells = line.strip("\n").split("\t") if "\t" in line else line.split()
        try:
            word, tag = (
                cells[column].strip() for column in (self.word_column, self.tag_column)
            )
        except IndexError:
            word = tag = ""
        least = max(self.word_column, self.tag_column, 1) + 1
        if not word or not tag or len(cells) < least:
            raise ValueError(
                f"{line!r:.80} has no word in column {self.word_column} or no tag in "
                f"column {self.tag_column}; mend it, or name other columns."
            )
        if self.word_column % len(cells) == self.tag_column % len(cells):
            raise ValueError(
                f"{line!r:.80} has its word and its tag in one column, "
                f"{self.word_column} and {self.tag_column}; name other columns."
            )
        if len(word.split()) > 1:
            raise ValueError(f"The word {word!r:.80} holds white space; split it.")
        if self.entities and not _ENTITY_TAG.fullmatch(tag):
            raise ValueError(
                f"{tag!r} is no tag of an entity (O, B-PER, I-PER, ...); mend it, name "
                "another tag_column, or pass scheme='any'."
            )
        return word, tag


def _folder(given: str | pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(given)
    if not folder.is_dir():
        raise ValueError(
            f"`image_folder` must be a folder of images. Received: {str(given)!r}."
        )
    return folder


def _image_file(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file of this name, with an ending if that is left out."""
    if pathlib.PurePath(name).suffix.lower().lstrip(".") in EXTENSIONS:
        return folder / name
    files = [folder / f"{name}.{extension}" for extension in EXTENSIONS]
    return next((file for file in files if file.is_file()), files[0])
