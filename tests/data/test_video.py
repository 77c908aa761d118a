import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import open_source, parse_record, read_records, sample_frames, schema

from .conftest import encode, write_records


def names(count):
    return np.array([f"f{i}".encode() for i in range(count)], object)


@pytest.mark.parametrize("count, wanted", [(8, 8), (9, 4), (100, 7), (5, 1), (3, 2)])
def test_the_middle_of_each_stretch(count, wanted):
    frames, mask = sample_frames(tf.constant(names(count)), wanted)
    middles = [int((i + 0.5) * count / wanted) for i in range(wanted)]
    assert frames.numpy().tolist() == names(count)[middles].tolist()
    assert mask.numpy().all()


@pytest.mark.parametrize("count, wanted", [(1, 1), (1, 4), (3, 8)])
def test_too_few_frames_are_kept_and_marked(count, wanted):
    frames, mask = sample_frames(tf.constant(names(count)), wanted)
    assert frames[:count].numpy().tolist() == names(count).tolist()
    assert set(frames[count:].numpy()) <= {names(count)[-1]}
    assert mask.numpy().tolist() == [True] * count + [False] * (wanted - count)


def test_a_batch_is_each_video_by_itself():
    videos = [names(1), names(5), names(3)]
    batch = tf.ragged.constant([list(video) for video in videos]).to_tensor("")
    # Gaps may stand anywhere.
    batch = tf.concat([tf.fill([3, 1], ""), batch], axis=1)
    frames, mask = tf.function(sample_frames)(batch, 4)
    for index, video in enumerate(videos):
        one, one_mask = sample_frames(tf.constant(video), 4)
        np.testing.assert_array_equal(frames[index], one)
        np.testing.assert_array_equal(mask[index], one_mask)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (1, 3)])
def test_no_frame_is_an_error(shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a frame"):
        sample_frames(tf.fill(shape, ""), 2)


@pytest.mark.parametrize("frames, number", [(["a"], 0), ("a", 1), ([[["a"]]], 1)])
def test_bad_arguments(frames, number):
    with pytest.raises(ValueError, match="Received"):
        sample_frames(tf.constant(frames), number)


def test_frames_on_disk_stay_encoded_and_may_differ_in_number_and_size(tmp_path):
    records = [
        {
            "id": f"v{count}",
            "video": [
                encode(np.full((8, 6 + count, 3), 40 * i, np.uint8), "JPEG")
                for i in range(count)
            ],
            "captions": ["a clip"] * count,
        }
        for count in (1, 3)
    ]
    path = write_records(tmp_path, schema.video_text(), {"train": records})
    features = open_source(path, schema.video_text()).features
    assert repr(features) == repr(schema.video_text())
    for serialized, record in zip(read_records(path, "train"), records, strict=True):
        parsed = parse_record(serialized, features)
        assert parsed["video"].numpy().tolist() == record["video"]
        assert len(parsed["captions"]) == len(record["captions"])


def test_tfds_decodes_what_we_write(tmp_path):
    import tensorflow_datasets as tfds

    frames = [encode(np.full((4, 4, 3), 90 * i, np.uint8), "JPEG") for i in range(3)]
    record = {"id": "v", "video": frames, "captions": ["a"]}
    path = write_records(tmp_path, schema.video_text(), {"train": [record]})
    (read,) = tfds.builder_from_directory(path).as_dataset("train")
    assert read["video"].shape == (3, 4, 4, 3)
    np.testing.assert_allclose(read["video"][:, 0, 0, 0], [0, 90, 180], atol=2)
