import io

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import DatasetWriter, build_tfds
from tfrecords_tools.__main__ import main


class PicturesOfTests(tfds.core.GeneratorBasedBuilder):
    """A dataset that TFDS itself writes, with features inside of features."""

    VERSION = tfds.core.Version("2.1.0")

    def _info(self):
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            description="Pictures of tests.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "captions": tfds.features.Sequence({"text": text, "n": np.int64}),
                    "label": tfds.features.ClassLabel(names=["wolf", "cat"]),
                    "answers": tfds.features.Sequence(text),
                    "question": text,
                    "mask": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for number in range(count):
            yield (
                number,
                {
                    "image": np.full((4, 5, 3), number * 20, np.uint8),
                    "captions": [
                        {"text": f"Bild {number}", "n": 0},
                        {"text": "größer", "n": 1},
                    ],
                    # -1: not known.
                    "label": -1 if number == 5 else number % 2,
                    "answers": ["no", "yes", "yes"],
                    "question": f"Is it {number}?",
                    "mask": [0.0, 1.0],
                },
            )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    builder = PicturesOfTests(data_dir=folder)
    builder.download_and_prepare()
    return folder


def records(directory, split="train"):
    builder = tfds.builder_from_directory(str(directory))
    decoders = {"image": tfds.decode.SkipDecoding()}
    return list(tfds.as_numpy(builder.as_dataset(split, decoders=decoders)))


def level(record):
    return int(np.asarray(PIL.Image.open(io.BytesIO(record["image"])))[0, 0, 0]) // 20


def test_captions_inside_of_features(pictures, tmp_path):
    result = build_tfds(
        data=str(pictures / "pictures_of_tests"),
        image="image",
        caption="captions.text",
        name="set",
        output_dir=tmp_path,
    )
    assert result.num_records == {"train": 6, "test": 2}
    info = tfds.builder_from_directory(result.directory).info
    assert repr(info.features) == repr(schema.image_text())
    assert info.description == "Pictures of tests."
    found = {level(one): [*one["captions"]] for one in records(result.directory)}
    assert found == {n: [f"Bild {n}".encode(), "größer".encode()] for n in range(6)}
    # The bytes are those that TFDS wrote, and the ids are TFDS's.
    original = {level(one): one["image"] for one in records(_version(pictures))}
    for one in records(result.directory):
        assert one["image"] == original[level(one)]
        assert one["id"].startswith(b"pictures_of_tests-train.tfrecord-00000-of-00001_")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def _version(folder):
    return folder / "pictures_of_tests" / "2.1.0"


def test_labels_keep_their_numbers_and_splits_can_be_cut(pictures, tmp_path):
    words = ["build", "tfds", "--data", "pictures_of_tests", "--data_dir", pictures]
    words += ["--image", "image", "--label", "label", "--name", "set", "--skip_bad"]
    words += ["--splits", "train=train[2:]", "val=train[:2]", "--output_dir", tmp_path]
    assert main([str(word) for word in words]) == 0
    directory = tmp_path / "set/1.0.0"
    builder = tfds.builder_from_directory(directory)
    assert builder.info.features["label"].names == ["wolf", "cat"]
    found = records(directory) + records(directory, "validation")
    assert {level(one): one["label"] for one in found} == {n: n % 2 for n in range(5)}
    assert records(directory, "validation")
    assert "column 'label' is empty" in (directory / "skipped.jsonl").read_text()


def test_questions_with_several_answers(pictures, tmp_path):
    result = build_tfds(
        data=str(_version(pictures)),
        image="image",
        question="question",
        answer="answers",
        name="set",
        output_dir=tmp_path,
        splits=["test"],
    )
    assert result.num_records == {"test": 2}
    found = records(result.directory, "test")
    assert {one["answer"] for one in found} == {b"yes"}
    # Questions about one picture could be told by the hash of it.
    assert len({one["image_id"] for one in found}) == 2


def test_what_we_wrote_comes_back(tmp_path, encoded_image):
    features = schema.labelled(class_names=["b", "a"])
    with DatasetWriter(tmp_path, "first", features) as writer:
        for number in range(4):
            record = {
                "id": f"x/{number}",
                "label": number % 2,
                "text": f"Größe {number}",
            }
            writer.write("train", record | {"image": encoded_image(0, "JPEG")})
    names = {name: name for name in ("image", "label", "text", "id")}
    again = build_tfds(
        data=str(tmp_path / "first"), name="again", output_dir=tmp_path, **names
    )
    first = {one["id"]: one for one in records(writer.directory)}
    assert {one["id"]: one for one in records(again.directory)} == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"caption": "captions.txt"},
            r"no feature 'captions\.txt'; did you mean 'capt",
        ),
        ({"label": "labels"}, r"no feature 'labels'; did you mean 'label'\?"),
        (
            {"image": "mask", "label": "label"},
            r"kind Image. Received: image='mask', a T",
        ),
        ({"label": "answers"}, r"column 'answers' holds a list"),
        (
            {"label": "label", "splits": ["val"]},
            r"Received: val=val, where the splits a",
        ),
        ({}, r"columns must be image and caption"),
        ({"label": "label"}, r"__\d: The column 'label' is empty"),
    ],
)
def test_wrong_features(pictures, tmp_path, arguments, message):
    fixed = {"data": str(_version(pictures)), "output_dir": tmp_path, "name": "set"}
    with pytest.raises(ValueError, match=message):
        build_tfds(**{"image": "image"} | fixed | arguments)
    assert not list(tmp_path.glob("*"))


def test_wrong_directories(pictures, tmp_path):
    fixed = {"image": "image", "label": "label", "output_dir": tmp_path, "name": "set"}
    with pytest.raises(ValueError, match=r"features\.json.*with no version"):
        build_tfds(data=str(pictures), **fixed)
    with pytest.raises(ValueError, match=r"name of a dataset.*Received: no_such_set"):
        build_tfds(data="no_such_set", data_dir=str(tmp_path), **fixed)
    with pytest.raises(ValueError, match=r"Received: .*/gone/1\.0\.0"):
        build_tfds(data=str(tmp_path / "gone/1.0.0"), **fixed)
