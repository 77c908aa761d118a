"""Builds a data directory from CoNLL's column files: a word and its tag a line."""

import pathlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import Literal

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.named_files import named_files, read_text
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

_ENTITY_TAG = re.compile(r"O|[BIELSUM]-\S+")


def build_conll(
    *,
    files: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    word_column: int = 0,
    tag_column: int = -1,
    scheme: Literal["entities", "any"] = "entities",
    comments: bool = False,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes tagged sentences as records of the schema `tagged`.

    A line holds a word and what is said of it, in columns between tabs, or else
    between any white space; an empty line ends a sentence. Lines that begin with
    -DOCSTART- are passed over.

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
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    bad_rows = BadRows(options.skip_bad)
    columns = _Columns(word_column, tag_column, scheme == "entities", comments)
    records = []
    for number, (split, path) in enumerate(named_files(files)):
        for place, words, tags in columns.sentences(path, bad_rows):
            # Files may have the same name in two folders.
            values = {"id": f"{number}-{place.line:07d}", "words": words, "tags": tags}
            group = None if split else " ".join(words)
            records.append(SourceRecord(split, values, None, (place,), group))
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
        features=schema.tagged(["O", *names] if scheme == "entities" else names),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )


class _Columns:
    """Reads sentences out of columns."""

    def __init__(self, word_column: int, tag_column: int, entities: bool, comments):
        if word_column == tag_column:
            raise ValueError(
                "Words and tags must stand in two columns. Received: word_column="
                f"{word_column}, tag_column={tag_column}."
            )
        self.word_column = word_column
        self.tag_column = tag_column
        self.entities = entities
        self.comments = comments

    def sentences(
        self, path: pathlib.Path, bad_rows: BadRows
    ) -> Iterator[tuple[Place, list[str], list[str]]]:
        """Place of the first line, words and tags of each sentence.

        A sentence with a bad line is left out as a whole.
        """
        start, words, tags, bad = 1, [], [], False
        # Only line feeds end a line: words may hold other separators of Unicode.
        lines = re.split(r"\r?\n", read_text(path))
        for number, line in enumerate([*lines, ""], 1):
            if self._is_passed_over(line):
                continue
            if not line.strip():
                if words and not bad:
                    yield Place(str(path.name), start), words, tags
                start, words, tags, bad = number + 1, [], [], False
                continue
            place = Place(str(path.name), number)
            try:
                word, tag = self._read(line)
            except ValueError as error:
                bad_rows.add(place, str(error))
                bad = True
                continue
            words.append(word)
            tags.append(tag)

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
