"""Rows with a picture and a sound."""

import csv
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfrecords_tools import BuildOptions, build_manifest

soundfile = pytest.importorskip("soundfile")
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
HEADER = ["id", "image", "audio", "text", "label"]


def sound(kind):
    stream = io.BytesIO()
    wave = 0.5 * np.sin(np.arange(900) / 20).astype(np.float32)
    soundfile.write(stream, wave, 8000, format=kind)
    return stream.getvalue()


@pytest.fixture
def files(tmp_path, encoded_image):
    found = {"a.png": encoded_image(9), "a.wav": sound("WAV"), "b.flac": sound("FLAC")}
    for name, content in found.items():
        (tmp_path / name).write_bytes(content)
    return found


def build(folder, *rows, **options):
    path = folder / "pairs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    columns = {f"{name}_column": name for name in HEADER}
    return build_manifest(
        manifest=path,
        output_dir=folder / "data",
        name="pairs",
        allow_missing=True,
        **columns,
        **{**WHOLE, **options},
    )


ROWS = [
    ["both", "a.png", "a.wav", "a tone", "yes"],
    ["heard", "", "b.flac", "", "no"],
    ["seen", "a.png", "", "grey", "no"],
    ["read", "", "", "only words", "yes"],
]


def test_pictures_and_sounds_may_be_missing(files, tmp_path):
    result = build(tmp_path, *ROWS)
    builder = tfds.builder_from_directory(result.directory)
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = {
        one["id"].decode(): one
        for one in tfds.as_numpy(builder.as_dataset("train", decoders=decoders))
    }
    media = {key: (one["image"], one["audio"]) for key, one in found.items()}
    assert media == {
        "both": (files["a.png"], files["a.wav"]),
        "heard": (b"", files["b.flac"]),
        "seen": (files["a.png"], b""),
        "read": (b"", b""),
    }
    lengths = {key: int(one["num_samples"]) for key, one in found.items()}
    assert lengths == {"both": 900, "heard": 900, "seen": 0, "read": 0}
    assert found["seen"]["text"] == b"grey" and found["heard"]["sample_rate"] == 8000


def test_sounds_become_wav(files, tmp_path):
    result = build(tmp_path, *ROWS, options=BuildOptions(audio_to_wav=True))
    builder = tfds.builder_from_directory(result.directory)
    decoders = {"image": tfds.decode.SkipDecoding()}
    for one in tfds.as_numpy(builder.as_dataset("train", decoders=decoders)):
        assert one["audio"][:4] in (b"", b"RIFF")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["x", "gone.png", "a.wav", "", "no"], r"gone\.png' does not exist"),
        (["x", "a.png", "a.png", "", "no"], r"sound '.*a\.png'"),
        (["x", "a.wav", "a.wav", "", "no"], r"a\.wav'"),
        (["x", "", "", "", "no"], "nothing but a label"),
    ],
)
def test_bad_rows_are_named(row, message, files, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, ROWS[0], row)


def test_a_runner_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="runner='DirectRunner'"):
        build(tmp_path, *ROWS, options=BuildOptions(runner="DirectRunner"))
