import io
import json
import tarfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from kmmft.data import open_source, parse_record, schema
from tfrecords_tools import (
    BuildOptions,
    DatasetWriter,
    build_huggingface,
    build_manifest,
    export_data,
    inspect_data,
    verify_data,
)
from tfrecords_tools.__main__ import main
from tfrecords_tools.copying import open_records, read_all

soundfile = pytest.importorskip("soundfile")


def tone(number, kind, samples=800):
    wave = np.sin(np.arange(samples) / (20 + number)).astype(np.float32) * 0.5
    stream = io.BytesIO()
    soundfile.write(stream, wave, 8000 * (1 + number), format=kind)
    return stream.getvalue()


@pytest.fixture
def sounds(tmp_path):
    files = {}
    for number, kind in enumerate(["WAV", "FLAC", "OGG"]):
        files[f"{number}.{kind.lower()}"] = tone(number, kind, 800 + number)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return files


def records(directory, split="train"):
    found = tfds.as_numpy(tfds.builder_from_directory(directory).as_dataset(split))
    return {record["id"].decode(): record for record in found}


def manifest(folder, *rows):
    path = folder / "sounds.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return {"manifest": path, "output_dir": folder, "name": "sounds"}


WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def test_sounds_with_transcripts(sounds, tmp_path):
    rows = [{"file": name, "said": f"Größe {name}"} for name in sounds]
    rows.append({"file": "./1.flac", "said": "again"})
    columns = {"audio_column": "file", "caption_column": "said"}
    result = build_manifest(**manifest(tmp_path, *rows), **columns, **WHOLE)
    features = tfds.builder_from_directory(result.directory).info.features
    assert repr(features) == repr(schema.audio_text())
    found = records(result.directory)
    assert {key: one["audio"] for key, one in found.items()} == sounds
    described = {
        key: (int(one["sample_rate"]), int(one["num_samples"]))
        for key, one in found.items()
    }
    assert described == {
        "0.wav": (8000, 800),
        "1.flac": (16000, 801),
        "2.ogg": (24000, 802),
    }
    assert found["1.flac"]["captions"].tolist() == ["Größe 1.flac".encode(), b"again"]
    # kmmft reads them too.
    record = next(iter(read_all(open_records(result.directory))))
    parsed = parse_record(record.payload, open_source(result.directory).features)
    assert parsed["audio"].numpy() == sounds[parsed["id"].numpy().decode()]
    again = build_manifest(
        **manifest(tmp_path, *rows) | {"name": "sounds2"}, **columns, **WHOLE
    )
    shard = "sounds{}-train.tfrecord-00000-of-00001"
    first = (result.directory / shard.format("")).read_bytes()
    assert (again.directory / shard.format("2")).read_bytes() == first


def test_sounds_with_labels(sounds, tmp_path):
    rows = [
        {"file": name, "kind": kind, "text": "x"}
        for name, kind in zip(sounds, "bab", strict=True)
    ]
    arguments = manifest(tmp_path, *rows)
    columns = {"audio_column": "file", "label_column": "kind", **WHOLE}
    result = build_manifest(**arguments, **columns)
    found = records(result.directory)
    assert {one["audio"]: one["label"] for one in found.values()} == {
        content: number
        for content, number in zip(sounds.values(), [1, 0, 1], strict=True)
    }
    options = BuildOptions(overwrite=True)
    build_manifest(**arguments, **columns, text_column="text", options=options)
    found = records(result.directory)
    assert {one["text"] for one in found.values()} == {b"x"}


def test_bad_sounds_are_named_or_skipped(sounds, tmp_path, capsys):
    (tmp_path / "1.flac").write_bytes(sounds["1.flac"][:-9])
    rows = [{"file": name, "said": "x"} for name in [*sounds, "gone.wav"]]
    arguments = manifest(tmp_path, *rows)
    words = ["build", "manifest", "--audio_column", "file", "--caption_column", "said"]
    words += [f"--{name}={value}" for name, value in arguments.items()]
    assert main([*words, "--validation_fraction", "0"]) == 2
    message = capsys.readouterr().err
    assert "cannot be decoded" in message or "does not exist" in message
    assert main([*words, "--validation_fraction=0", "--skip_bad"]) == 0
    assert "2 rows skipped" in capsys.readouterr().out
    listed = (tmp_path / "sounds/1.0.0/skipped.jsonl").read_text()
    assert "1.flac" in listed and "gone.wav" in listed
    assert main([*words, "--max_seconds=0.01", "--name=short"]) == 2
    assert "--max_seconds" in capsys.readouterr().err


def test_sounds_are_exported_come_back_and_are_verified(sounds, tmp_path):
    rows = [{"file": name, "said": f"Größe {name}"} for name in sounds]
    columns = {"audio_column": "file", "caption_column": "said"}
    first = build_manifest(**manifest(tmp_path, *rows), **columns, **WHOLE)
    export_data(data=first.directory, to="parquet", output_dir=tmp_path / "hf")
    columns = {"audio_column": "audio", "caption_column": "captions"}
    again = build_huggingface(
        data=[str(tmp_path / "hf")],
        output_dir=tmp_path,
        name="again",
        id_column="id",
        **columns,
    )
    one, two = records(first.directory), records(again.directory)
    assert one.keys() == two.keys() == sounds.keys()
    for key, record in one.items():
        assert {k: v for k, v in record.items() if k != "captions"} == {
            k: v for k, v in two[key].items() if k != "captions"
        }
        assert list(record["captions"]) == list(two[key]["captions"])
    export_data(data=first.directory, to="webdataset", output_dir=tmp_path / "wds")
    with tarfile.open(tmp_path / "wds/train-000000.tar") as archive:
        found = {one.name: archive.extractfile(one).read() for one in archive}
    assert sorted(v for k, v in found.items() if not k.endswith("json")) == sorted(
        sounds.values()
    )
    numbers = json.loads(next(v for k, v in found.items() if k.endswith("json")))
    assert numbers["sample_rate"] in (8000, 16000, 24000)
    assert verify_data(data=first.directory).exit_code == 0
    inspected = inspect_data(data=first.directory)
    found = inspected.splits["train"]["sounds"]["audio"]
    assert found["seconds"]["max"] == 800 / 8000 and found["rates"][24000] == 1
    assert found["formats"] == {"wav": 1, "flac": 1, "ogg": 1}
    assert "(0.0-0.1)" in str(inspected) and "16000 (1)" in str(inspected)


def test_verify_finds_broken_sounds(tmp_path):
    whole = tone(0, "WAV")
    told = {"captions": ["x"], "sample_rate": 8000, "num_samples": 800}
    with DatasetWriter(tmp_path, "set", schema.audio_text()) as writer:
        writer.write("train", {"id": "good", "audio": whole, **told})
        writer.write("train", {"id": "cut", "audio": whole[:-9], **told})
        wrong = told | {"sample_rate": 44100}
        writer.write("train", {"id": "rate", "audio": whole, **wrong})
    found = str(verify_data(data=writer.directory))
    assert "is cut short" in found
    assert "The sample_rate is 44100, of the audio 8000." in found


def test_sounds_inside_of_parquet(sounds, tmp_path):
    cells = [{"bytes": content, "path": name} for name, content in sounds.items()]
    table = pyarrow.table({"audio": cells, "text": list("abc"), "id": list("xyz")})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    columns = {"audio_column": "audio", "caption_column": "text", "id_column": "id"}
    arguments = {"output_dir": tmp_path / "out", "name": "set", **columns}
    result = build_huggingface(data=[str(tmp_path / "train.parquet")], **arguments)
    found = records(result.directory)
    assert [found[key]["audio"] for key in "xyz"] == list(sounds.values())


def test_sounds_become_wav(sounds, tmp_path):
    rows = [{"file": name, "said": "x"} for name in sounds]
    columns = {"audio_column": "file", "caption_column": "said"}
    options = BuildOptions(audio_to_wav=True)
    result = build_manifest(
        **manifest(tmp_path, *rows), **columns, **WHOLE, options=options
    )
    found = records(result.directory)
    # What is plain WAV keeps its bytes.
    assert found["0.wav"]["audio"] == sounds["0.wav"]
    for name, encoded in sounds.items():
        before, rate = soundfile.read(io.BytesIO(encoded))
        with soundfile.SoundFile(io.BytesIO(found[name]["audio"])) as after:
            assert (after.format, after.subtype) == ("WAV", "PCM_16")
            assert after.samplerate == rate == found[name]["sample_rate"]
            np.testing.assert_allclose(after.read(), before, atol=2**-15)
    assert verify_data(data=result.directory).exit_code == 0
