"""Builds a data directory from a CSV, TSV, JSONL or Parquet manifest."""

import functools
import pathlib
import time
from typing import Any

from tfrecords_tools.audio_bytes import audio_reader
from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.media_pair import read_pair
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.embedded_files import EmbeddedFiles
from tfrecords_tools.sources.manifest_columns import ManifestColumns
from tfrecords_tools.sources.manifest_records import manifest_records
from tfrecords_tools.sources.manifest_rows import read_rows
from tfrecords_tools.sources.manifest_turns import joined_turns
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.video_frames import check_videos, read_video
from tfrecords_tools.write_records import write_records


def build_manifest(
    *,
    manifest: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    name: str,
    image_column: str | None = None,
    video_column: str | None = None,
    audio_column: str | None = None,
    caption_column: str | None = None,
    question_column: str | None = None,
    answer_column: str | None = None,
    answers_column: str | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    target_column: str | None = None,
    target_text_column: str | None = None,
    turn_separator: str = " | ",
    number_columns: tuple[str, ...] = (),
    category_columns: tuple[str, ...] = (),
    allow_missing: bool = False,
    id_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    num_frames: int = 16,
    frame_size: int = 256,
    max_seconds: float = 3600.0,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes the rows of a manifest as records.

    The columns given decide the schema. Image and caption: `image_text`, where the
    captions of one image make one record. Video and caption: `video_text`, likewise,
    with the frames that `read_video` takes. Audio and caption (or transcript):
    `audio_text`, with the files as they are. Image, question and answer:
    `image_question_answer`. Label with any of image, audio and text, and columns of
    numbers and categories: `labelled`; class names are sorted, whole numbers by value.
    Text and target: `rated`, perhaps with an image. With either, a text may have a
    second one beside it.
    Text and target text: `text_to_text`, where the targets of one text make one record;
    the text may be a list, the turns of a dialogue. White space around texts is taken
    off. The order of the records is shuffled, the same way each time. Images and sounds
    may stand in a Parquet file themselves, as bytes or as Hugging Face's `datasets` has
    them: then their hash takes the place of their path.

    Args:
        manifest: File that ends in .csv or .tsv (with a header line), .jsonl or
            .parquet.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        image_column: Column with paths of images; relative to the manifest.
        video_column: Column with paths of videos (GIF, MP4, ...); likewise.
        audio_column: Column with paths of sounds (WAV, FLAC, Ogg); likewise.
        caption_column: Column with captions; in JSONL and Parquet also lists of them.
        question_column: Column with questions.
        answer_column: Column with answers.
        answers_column: Column with the answers of all people who were asked, in JSONL
            and Parquet lists of them; beside `answer_column`.
        label_column: Column with names of classes.
        text_column: Column with texts to classify.
        text_pair_column: Column with second texts, such as hypotheses.
        target_column: Column with numbers to predict, in place of a class.
        target_text_column: Column with texts to write from the text, such as
            translations; in JSONL and Parquet also lists of them.
        turn_separator: What is put between the turns of a dialogue.
        number_columns: Columns with numbers, such as age and weight; features of the
            same names.
        category_columns: Columns with names of categories, likewise.
        allow_missing: Whether the image, the sound, the text to classify, numbers and
            categories may be empty in some rows, if not all of them are. Otherwise
            such a row is a bad one.
        id_column: Column with ids; default: the path of the image, video or sound
            for captions, the number of the line otherwise. Captions of one file under
            two ids make two records, in one split unless a column says otherwise.
        split_column: Column with the split; val, valid and dev become validation.
            Without it, rows are split by a hash of the file's path, or of the text.
        group_column: Column with what must not be torn apart, such as a person or a
            shop: rows are split by its hash instead.
        validation_fraction: Share for validation, without a split column.
        test_fraction: Share for test, without a split column.
        num_frames: Most frames to keep of a video.
        frame_size: Shorter side of a video's frames; smaller ones stay as they are.
        max_seconds: Longer sounds are bad.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If the manifest cannot be read, its columns do not make records, a
            row is bad, or the dataset exists.

    Example:
        >>> import pathlib
        >>> rows = "review,stars\\nGood,5\\nBad,1\\n"
        >>> _ = pathlib.Path("reviews.csv").write_text(rows)
        >>> result = build_manifest(
        ...     manifest="reviews.csv", text_column="review", label_column="stars",
        ...     name="reviews", output_dir="data", validation_fraction=0.0,
        ...     test_fraction=0.0,
        ... )
        >>> result.num_records
        {'train': 2}
    """
    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    if split_column and group_column:
        raise ValueError(
            "A group decides the split of its rows. Received: split_column="
            f"{split_column!r} and group_column={group_column!r}; give one of them."
        )
    if allow_missing and not label_column:
        raise ValueError(
            "Only records with a label may lack something. Received: "
            "allow_missing=True and no label_column; leave allow_missing out."
        )
    columns = ManifestColumns(
        image=image_column,
        video=video_column,
        audio=audio_column,
        caption=caption_column,
        label=label_column,
        text=text_column,
        text_pair=text_pair_column,
        target=target_column,
        target_text=target_text_column,
        question=question_column,
        answer=answer_column,
        answers=answers_column,
        id=id_column,
        split=split_column,
        group=group_column,
        numbers=number_columns,
        categories=category_columns,
    )
    bad_rows = BadRows(options.skip_bad)
    path = pathlib.Path(manifest)
    with EmbeddedFiles(pathlib.Path(output_dir)) as files:
        rows = read_rows(path, columns.names, bad_rows)
        if columns.target_text:
            rows = joined_turns(rows, columns.text, turn_separator)
        single = columns.all_media in (["image"], ["audio"])
        if path.suffix.lower() == ".parquet" and single:
            rows = files.take_out(rows, columns.media)
        records = manifest_records(rows, path.parent, columns, bad_rows, allow_missing)
        labels = [record.values["label"] for record in records if columns.label]
        return write_records(
            records,
            bad_rows,
            output_dir=output_dir,
            name=name,
            features=columns.features(sorted_class_names(labels)),
            options=options,
            started=started,
            scratch=files.folder,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            **_reading(columns, records, num_frames, frame_size, max_seconds, options),
        )


def _reading(
    columns: ManifestColumns,
    records: list[SourceRecord],
    num_frames: int,
    frame_size: int,
    max_seconds: float,
    options: BuildOptions,
) -> dict[str, Any]:
    """How `write_records` reads what are no images."""
    if columns.medium == "video":
        check_videos((record.image for record in records), num_frames, frame_size)
        read = functools.partial(
            read_video, num_frames=num_frames, frame_size=frame_size
        )
        return {"feature": "video", "read": read}
    if columns.audio:
        read = audio_reader(max_seconds, options)
        if columns.image is None:
            return {"read": read}
        if options.runner:
            raise ValueError(
                "An image beside a sound is read where the build is started. Received: "
                f"runner={options.runner!r}. Leave it out."
            )
        return {"read": functools.partial(read_pair, **read.keywords)}
    return {}
