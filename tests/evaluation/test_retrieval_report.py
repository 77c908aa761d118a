import re

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation import RecordVectors, retrieval_table
from kmmft.evaluation.retrieval_report import found_section
from tfrecords_tools import DatasetWriter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Six records; the first has two captions."""
    folder = tmp_path_factory.mktemp("retrieval")
    with DatasetWriter(folder, "pairs", kmmft.data.schema.image_text()) as writer:
        for number in range(6):
            picture = tf.fill([8, 8, 3], tf.constant(40 * number, tf.uint8))
            captions = [f"<word {number}>"] + ["again"] * (number == 0)
            image = tf.io.encode_png(picture).numpy()
            writer.write(
                "test", {"id": f"r{number}", "image": image, "captions": captions}
            )
    return kmmft.data.open_source(writer.directory)


def encoded(source, text_vectors):
    records = kmmft.data.first_records(source, "test", 6)
    owner = [row for row, record in enumerate(records) for _ in record["captions"]]
    return RecordVectors(
        vectors={"image": np.eye(6, dtype=np.float32), "text": text_vectors[owner]},
        record_of={"image": np.arange(6), "text": np.array(owner)},
        texts={"text": [c.decode() for r in records for c in r["captions"]]},
        records={"id": np.array([r["id"].encode() for r in records], object)},
    )


def test_perfect_vectors_find_their_own(source):
    vectors = encoded(source, np.eye(6, dtype=np.float32))
    page = found_section(vectors, source, "test", num_questions=3, top=2)
    assert "Every 2nd record" in page
    assert page.count("<figure><img") == 3 * 2 and page.count('class="seen"') == 3
    # Each word finds its picture first; a picture with two captions finds both.
    first = len(vectors.texts["text"]) - 6 + 3
    assert page.count('class="own"') == 3 + first
    assert page.count("its own is 1st of 6") == 3
    assert page.count("its own is 1st of 7") == 3
    assert "&lt;word 0&gt;" in page and "<word 0>" not in page


def test_wrong_vectors_find_others(source):
    shifted = np.roll(np.eye(6, dtype=np.float32), 1, axis=1) + 0.1
    shifted[np.arange(6), np.arange(6)] = 0
    page = found_section(encoded(source, shifted), source, "test", 2, top=2)
    assert 'class="own"' not in page
    assert page.count("its own is 6th of 6") == 2
    assert not re.search("its own is 1st", page)


def test_table_leaves_out_what_was_not_measured():
    metrics = {
        "test/image_to_text/recall_at_1": 0.5,
        "test/text_to_image/recall_at_1": 0.25,
        "ridge/image_to_text/recall_at_1": 0.125,
    }
    names = {"chance": "chance", "ridge": "ridge", "test": "this model"}
    table = retrieval_table(metrics, names)
    assert table.header == ["", "image → text R@1", "text → image R@1"]
    assert table.rows == [["ridge", 0.125, None], ["this model", 0.5, 0.25]]
    assert table.highlight == 1
