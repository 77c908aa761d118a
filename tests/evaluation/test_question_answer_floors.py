import pytest
import tensorflow as tf

import kmmft
from tests.data.conftest import write_records

PICTURE = tf.io.encode_png(tf.zeros((2, 2, 3), tf.uint8)).numpy()


def open_pairs(folder, **splits):
    splits = {
        split: [
            {
                "id": f"{split}-{number}",
                "image": PICTURE,
                "image_id": "",
                "question": question,
                "question_type": "",
                "answer": answer,
            }
            for number, (question, answer) in enumerate(pairs)
        ]
        for split, pairs in splits.items()
    }
    features = kmmft.data.schema.image_question_answer()
    return kmmft.data.open_source(write_records(folder, features, splits))


def test_hand_values(tmp_path):
    source = open_pairs(
        tmp_path,
        train=[
            ("colour?", "red"),
            ("colour?", "red"),
            ("big?", "no"),
            ("big?", "no"),
            ("big?", "yes"),
            ("old?", "no"),
        ],
        # Most frequent is "no"; an unseen question gets it too.
        test=[("colour?", "red"), ("big?", "yes"), ("new?", "no"), ("old?", "grün")],
    )
    floors = kmmft.evaluation.question_answer_floors(source)
    assert floors == {"majority": 0.25, "question_only": 0.5}


def test_missing_split(tmp_path):
    source = open_pairs(tmp_path, train=[("colour?", "red")])
    with pytest.raises(ValueError, match="split='test'"):
        kmmft.evaluation.question_answer_floors(source)


def test_empty_split(tmp_path):
    source = open_pairs(tmp_path, train=[("colour?", "red")], test=[])
    with pytest.raises(ValueError, match=r"test answers.*Received: 1 and 0"):
        kmmft.evaluation.question_answer_floors(source)
