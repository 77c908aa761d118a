import json
import math

import numpy as np
import pytest

from kmmft.data import schema
from tfrecords_tools import DatasetWriter, inspect_data
from tfrecords_tools.__main__ import main
from tfrecords_tools.split_summary import distribution


@pytest.fixture(scope="module")
def captions(tmp_path_factory, encoded_image):
    folder = tmp_path_factory.mktemp("captions")
    with DatasetWriter(folder, "pets", schema.image_text()) as writer:
        texts = [["A cat.", "A CAT sleeps"], ["собака"], ["A cat.", "[bold]"]]
        for number, own in enumerate(texts):
            kind = "JPEG" if number else "PNG"
            image = encoded_image(number, image_format=kind)
            record = {"id": f"id-{number}", "image": image, "captions": own}
            writer.write("train", record)
        record["image"] = b"\xff\xd8\xff no image"
        writer.write("test", {**record, "id": "bad"})
    return writer.directory


def test_texts_and_images_by_hand(captions):
    result = inspect_data(data=captions)
    train = result.splits["train"]
    assert (train["records"], train["shards"], train["inspected"]) == (3, 1, 3)
    texts = train["texts"]["captions"]
    assert texts["count"] == 5 and texts["repeated"] == 1 and texts["empty"] == 0
    assert texts["per_record"]["max"] == 2
    assert texts["words"]["median"] == 2 and texts["words"]["max"] == 3
    assert texts["top_words"]["cat"] == 3 and texts["top_words"]["a"] == 3
    # 4 + 10 + 4 + 4 letters of 28 are latin.
    assert texts["scripts"] == {"latin": 22 / 28, "cyrillic": 6 / 28}
    images = train["images"]["image"]
    assert images["formats"] == {"JPEG": 2, "PNG": 1} and images["unreadable"] == 0
    assert images["width"]["median"] == 8 and images["height"]["max"] == 6
    assert images["aspect_ratio"]["min"] == pytest.approx(8 / 6)
    assert result.splits["test"]["images"]["image"]["unreadable"] == 1
    page = str(result)
    for text in ("train captions", "2 JPEG, 1 PNG", "[bold]", "latin 79%"):
        assert text in page, page


def test_labels_by_hand(tmp_path):
    features = schema.labelled(image=False, class_names=["a", "b", "c"])
    with DatasetWriter(tmp_path, "rare", features) as writer:
        for number, label in enumerate([0, 0, 0, 1]):
            writer.write("train", {"id": str(number), "text": "", "label": label})
    result = inspect_data(data=tmp_path / "rare", max_records=100)
    labels = result.splits["train"]["labels"]["label"]
    assert labels["counts"] == {"a": 3, "b": 1, "c": 0}
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert labels["balance"] == pytest.approx(entropy / math.log(3))
    assert result.splits["train"]["texts"]["text"]["empty"] == 4
    assert "a 3, b 1, c 0" in str(result)


def test_frames_of_videos_count_as_images(tmp_path, encoded_image):
    with DatasetWriter(tmp_path, "clips", schema.video_text()) as writer:
        frames = [encoded_image(level, image_format="JPEG") for level in range(3)]
        writer.write("train", {"id": "a", "video": frames, "captions": ["moves"]})
    result = inspect_data(data=tmp_path / "clips")
    assert result.splits["train"]["images"]["video"]["count"] == 3


def test_distribution_is_that_of_numpy():
    values = np.random.default_rng(0).normal(size=99)
    found = distribution(values)
    assert found["5%"] == np.quantile(values, 0.05)
    assert found["histogram"] == np.histogram(values, 16)[0].tolist()
    assert distribution([]) == {}


def test_broken_records_are_counted(captions, tmp_path):
    for path in captions.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = next(tmp_path.glob("*-train.tfrecord*"))
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    train = inspect_data(data=tmp_path).splits["train"]
    assert train["unreadable_records"] == 1
    assert train["images"]["image"]["count"] == 2
    shard.unlink()
    with pytest.raises(ValueError, match=f"no .*{shard.name}"):
        inspect_data(data=tmp_path)


def test_command_line(captions, capsys):
    words = ["inspect", "--data", str(captions), "--max_records", "1"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"] == inspect_data(data=captions, max_records=1).splits
    assert found["splits"]["train"]["inspected"] == 1
    assert main([*words[:-1], "0"]) == 2
    assert "max_records=0" in capsys.readouterr().err
