"""Ratings of sentiment by people: the data of VADER's paper."""

import io
import pathlib
import tarfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from typing import Literal

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.manifest_cells import number_cell
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

_FILES = {
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
CLASS_NAMES = ("negative", "neutral", "positive")
# The people's scale goes from -4 to 4; their mean is rarely exactly 0.
_NEUTRAL = 0.5


def build_sentiment(
    *,
    archive: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    name: str = "sentiment",
    target: Literal["rating", "class"] = "rating",
    kinds: Sequence[Literal["amazon", "movies", "news", "tweets"]] = tuple(_FILES),
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes 23.7k English sentences and tweets, rated by 20 people each.

    They lie in the source archive of an old release of the Python package
    vaderSentiment (MIT), from which pip installs them not: fetch it by
    `pip download --no-deps --no-binary :all: vaderSentiment==0.5`.

    Args:
        archive: The file vaderSentiment-0.5.zip.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        target: What is to be predicted. `"rating"`: the people's mean, from -4 to 4
            (schema `rated`). `"class"`: negative below -0.5, positive above 0.5, else
            neutral (schema `labelled`).
        kinds: Which of the four collections to take.
        validation_fraction: Share for validation.
        test_fraction: Share for test. Sentences of one review or article are not torn
            apart.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If the archive is another, a row is bad, or the dataset exists.

    References:
        - [Hutto and Gilbert, 2014](https://ojs.aaai.org/index.php/ICWSM/article/view/14550).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    bad_rows = BadRows(options.skip_bad)
    rated = target == "rating"
    records = [
        record
        for kind, text in read_archive(pathlib.Path(archive), kinds).items()
        for record in _records(kind, text, rated, bad_rows)
    ]
    return write_records(
        records,
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=schema.rated()
        if rated
        else schema.labelled(image=False, class_names=CLASS_NAMES),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        description="Sentences and tweets with their sentiment, of VADER's paper.",
    )


def read_archive(archive: pathlib.Path, kinds: Sequence[str]) -> dict[str, str]:
    """The text of each collection, out of the archive inside the archive.

    Args:
        archive: As in `build_sentiment`.
        kinds: Names of collections.
    """
    inner = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
    try:
        with (
            zipfile.ZipFile(archive) as outside,
            tarfile.open(fileobj=io.BytesIO(outside.read(inner))) as inside,
        ):
            return {
                kind: inside.extractfile(f"hutto_ICWSM_2014/{_FILES[kind]}")
                .read()
                .decode("utf-8")
                for kind in kinds
            }
    except (OSError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise ValueError(
            "The ratings lie in vaderSentiment-0.5.zip, which `pip download --no-deps "
            "--no-binary :all: vaderSentiment==0.5` fetches. Received: "
            f"{archive} ({error})."
        ) from error


def _records(
    kind: str, text: str, rated: bool, bad_rows: BadRows
) -> Iterator[SourceRecord]:
    for number, line in enumerate(text.splitlines(), 1):
        place = Place(_FILES[kind], number)
        try:
            name, written, sentence = line.split("\t")
            rating = number_cell(written, "rating")
        except ValueError:
            bad_rows.add(place, f"{line!r:.80} is not id, rating and text.")
            continue
        if not sentence.strip():
            bad_rows.add(place, "The text is empty.")
            continue
        label = rating if rated else CLASS_NAMES[_class_of(rating)]
        values = {"id": f"{kind}-{name}", "text": sentence.strip(), "label": label}
        # An id such as 12_3 is the third sentence of the twelfth review.
        group = f"{kind}-{name.partition('_')[0]}"
        yield SourceRecord(None, values, None, (place,), group)


def _class_of(rating: float) -> int:
    return 1 + (rating > _NEUTRAL) - (rating < -_NEUTRAL)
