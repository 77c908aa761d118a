import io
import tarfile
import zipfile

import pytest

from kmmft.data import first_records
from tfrecords_tools import build_sentiment
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.sources import sentiment

FILES = {
    "amazonReviewSnippets": "1_1\t-0.9\tbad player\r\n1_2\t0.5\tit plays\r\n",
    "movieReviewSnippets": "1\t2.5\tgrand\r\n",
    "nytEditorialSnippets": "7_1\t-0.51\tdull news\r\n",
    "tweets": "1\tnot a number\toops\r\n2\t3\tlove :)\r\n",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    path = tmp_path_factory.mktemp("sentiment") / "vaderSentiment-0.5.zip"
    folder = "vaderSentiment-0.5/additional_resources"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    return path


def build(archive, folder, **options):
    return build_sentiment(
        archive=archive,
        output_dir=folder,
        validation_fraction=0.0,
        test_fraction=0.0,
        **options,
    )


def test_ratings_and_classes(archive, tmp_path):
    options = BuildOptions(skip_bad=True)
    result = build(archive, tmp_path, options=options)
    assert result.num_records == {"train": 5} and result.num_skipped == 1
    records = first_records(result.directory, "train", 5)
    ratings = {record["text"]: round(float(record["label"]), 3) for record in records}
    assert ratings == {
        "bad player": -0.9,
        "it plays": 0.5,
        "grand": 2.5,
        "dull news": -0.51,
        "love :)": 3.0,
    }
    kinds = ("amazon", "movies", "news")
    result = build(archive, tmp_path, name="classes", target="class", kinds=kinds)
    records = first_records(result.directory, "train", 5)
    classes = {record["id"]: int(record["label"]) for record in records}
    assert classes == {"amazon-1_1": 0, "amazon-1_2": 1, "movies-1": 2, "news-7_1": 0}


def test_ratings_that_are_no_finite_numbers(archive, tmp_path, monkeypatch):
    texts = {"tweets": "1\tnan\ta\n2\t1\tb\n3\t1e999\tc\n"}
    monkeypatch.setattr(sentiment, "read_archive", lambda *_: texts)
    with pytest.raises(ValueError, match=r"line 1: .*'1\\tnan\\ta' is not id, rating"):
        build(archive, tmp_path)
    result = build(archive, tmp_path, options=BuildOptions(skip_bad=True))
    assert result.num_records == {"train": 1} and result.num_skipped == 2


def test_bad_archives(archive, tmp_path):
    with pytest.raises(ValueError, match=r"tweets_GroundTruth.txt line 1.*rating"):
        build(archive, tmp_path)
    with pytest.raises(ValueError, match=r"pip download .*No such file"):
        build(tmp_path / "none.zip", tmp_path)
