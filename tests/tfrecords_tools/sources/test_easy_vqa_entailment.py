import collections
import csv
import json
import re

import pytest

from tfrecords_tools import write_easy_vqa_entailment

SHOWN = {0: ("red", "circle"), 1: ("teal", "triangle")}


@pytest.fixture
def rows(tmp_path, encoded_image):
    for split in ("train", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        questions = []
        for number in range(40):
            path = tmp_path / split / f"images/{number}.png"
            path.write_bytes(encoded_image(number))
            color, shape = SHOWN[number % 2]
            questions += [
                [f"what color is the {shape}?", color, number],
                [f"what is the {color} shape?", shape, number],
            ]
        (tmp_path / split / "questions.json").write_text(json.dumps(questions))
    path = write_easy_vqa_entailment(
        tmp_path / "out", validation_fraction=0.3, source_dir=str(tmp_path)
    )
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_hypotheses_are_what_their_labels_say(rows):
    counts = collections.Counter(row["label"] for row in rows)
    assert counts == {"entailment": 80, "contradiction": 80, "neutral": 80}
    open_words = re.compile("drawn|paper|older|likes")
    for row in rows:
        number = int(row["image"].rpartition("/")[2].removesuffix(".png"))
        color, shape = SHOWN[number % 2]
        words = row["text"].split()
        # "shape" is no claim.
        claims = [w for w in words if w in ("red", "teal", "circle", "triangle")]
        others = re.findall("black|blue|brown|gray|green|yellow|rectangle", row["text"])
        wrong = len(others) + sum(word not in (color, shape) for word in claims)
        assert bool(open_words.search(row["text"])) == (row["label"] == "neutral")
        assert bool(wrong) == (row["label"] == "contradiction"), row


def test_no_picture_is_in_two_splits(rows):
    splits = collections.defaultdict(set)
    for row in rows:
        splits[row["image"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    counts = collections.Counter(row["split"] for row in rows)
    assert counts["test"] == 120 and 3 <= counts["validation"] <= 80
