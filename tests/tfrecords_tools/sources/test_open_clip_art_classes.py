import collections

import numpy as np
import pytest

import tfrecords_tools
from tests.tfrecords_tools.sources.test_open_clip_art import add, blobs, read
from tfrecords_tools.sources.open_clip_art_classes import choose_splits


def test_splits_are_balanced_and_tear_no_group_apart():
    random = np.random.default_rng(0)
    class_of = {f"{number}": "abc"[number % 3] for number in range(300)}
    # Groups within a class, and one with pictures of two classes.
    groups = [3 * int(random.integers(20)) + number % 3 for number in range(300)]
    groups[0] = groups[1] = 1000
    splits = choose_splits(class_of, groups, validation_per_class=4, test_per_class=6)
    counts = collections.Counter((class_of[n], split) for n, split in splits.items())
    for name in "abc":
        assert counts[name, "test"] == 6 and counts[name, "validation"] == 4
    of_group = collections.defaultdict(list)
    for name, group in zip(class_of, groups, strict=True):
        if name in splits:
            of_group[group].append(splits[name])
    for found in of_group.values():
        assert set(found) == {"train"} or len(found) == 1
    assert of_group[1000] == ["train", "train"]


def test_too_few_pictures_are_named():
    with pytest.raises(ValueError, match=r"more than 3 different pictures.*2 of 'x'"):
        choose_splits({"a": "x", "b": "x", "c": "x"}, [0, 0, 1], 1, 2)


def test_missing_packages_are_named(tmp_path):
    with pytest.raises(ValueError, match="apt-get install openclipart-png"):
        tfrecords_tools.build_open_clip_art_classes(
            output_dir=tmp_path / "out", source_dir=str(tmp_path)
        )


@pytest.mark.parametrize("titles", [True, False])
def test_titles_stand_beside_the_pictures(titles, tmp_path):
    names = {
        "birds/owl": "Owl",
        "birds/jay": "",
        "cars/van": "A van",
        "cars/bus": "Bus",
    }
    for number, (name, title) in enumerate(names.items()):
        add(tmp_path / "source", name, blobs(number), title)
    result = tfrecords_tools.build_open_clip_art_classes(
        output_dir=tmp_path,
        classes={"bird": ("birds",), "car": ("cars",)},
        validation_per_class=0,
        test_per_class=1,
        source_dir=str(tmp_path / "source"),
        titles=titles,
    )
    records = read(result.directory)
    assert len(records) == 4 and {r["label"] for r in records.values()} == {0, 1}
    found = {name: r.get("text", b"").decode() for name, r in records.items()}
    expected = {f"{name}.png": title for name, title in names.items()}
    assert found == (expected if titles else dict.fromkeys(expected, ""))
    assert all(("text" in record) == titles for record in records.values())
