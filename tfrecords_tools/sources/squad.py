"""Builds a data directory from files in the format of SQuAD v1 and v2."""

import json
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.named_files import named_files, read_text
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records


def build_squad(
    *,
    files: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes questions on texts as records of the schema `question_context`.

    A question of SQuAD v2 with `is_impossible` gets no answers, whatever is plausible.

    Args:
        files: JSON files, each as SPLIT=FILE or FILE; without a split, questions are
            split by a hash of their article's title.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        validation_fraction: Share for validation, where no split is given.
        test_fraction: Share for test, where no split is given.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If a file is not of the format, an answer does not stand where it
            should, or the dataset exists.

    References:
        - [Rajpurkar et al., 2016](https://arxiv.org/abs/1606.05250), and
          [2018](https://arxiv.org/abs/1806.03822) (questions without an answer).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    bad_rows = BadRows(options.skip_bad)
    return write_records(
        _records(files, bad_rows),
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=schema.question_context(),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )


def _records(files: Sequence[str], bad_rows: BadRows) -> list[SourceRecord]:
    records, file_of_id = [], {}
    for split, path in named_files(files):
        for title, context, entry in _questions(path):
            # No lines here: a question is named by its id.
            place = Place(f"{path.name} question {entry.get('id')!r}")
            try:
                values = _values(title, context, entry)
                if values["id"] in file_of_id:
                    raise ValueError(f"The id is in {file_of_id[values['id']]} too.")
            except ValueError as error:
                bad_rows.add(place, str(error))
                continue
            file_of_id[values["id"]] = path.name
            records.append(
                SourceRecord(split, values, None, (place,), title or context)
            )
    if not records:
        raise ValueError(f"There must be a question. Received: none in {list(files)}.")
    return records


def _questions(path: pathlib.Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    try:
        articles = json.loads(read_text(path))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for entry in paragraph["qas"]:
                    yield (
                        str(article.get("title", "")),
                        paragraph["context"],
                        dict(entry),
                    )
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            "A file must be of SQuAD's format: `data`, a list of articles with "
            f"`paragraphs`, each with `context` and `qas`. Received: {path} "
            f"({type(error).__name__}: {error})."
        ) from error


def _values(title: str, context: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A record's values, after a check of its answers."""
    name, question = entry.get("id"), entry.get("question")
    if not (name and isinstance(name, str) and question and isinstance(question, str)):
        raise ValueError(f"{entry!r:.80} has no `id` or no `question`.")
    if not isinstance(context, str) or not context.strip():
        raise ValueError("Its `context` is empty.")
    impossible = bool(entry.get("is_impossible", False))
    answers = [] if impossible else entry.get("answers")
    if not isinstance(answers, list) or (not answers and "is_impossible" not in entry):
        raise ValueError("It has no `answers`; give it some, or `is_impossible: true`.")
    for answer in answers:
        match answer:
            case {"text": str(text), "answer_start": int(start)} if text.strip():
                pass
            case _:
                raise ValueError(f"{answer!r:.80} has no `text` or no `answer_start`.")
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text:
            raise ValueError(
                f"The answer {text!r:.60} does not stand at `answer_start` {start}, "
                f"but {there!r:.60}; mend it."
            )
    return {
        "id": name,
        "title": title,
        "question": question,
        "context": context,
        "answers": [answer["text"] for answer in answers],
        "answer_starts": [answer["answer_start"] for answer in answers],
    }
