"""What TensorBoard's own projector plugin reads back."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector import projector_plugin
from werkzeug import test, wrappers

from kmmft.evaluation import write_projector

VECTORS = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
UNIT = np.array([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], "f4")
LABELS = ["a cat", "tab\there", "new\nline", "", "Bär"]


def ask(log_dir, route, name="vectors"):
    """Asks the plugin as the browser does."""
    plugin = projector_plugin.ProjectorPlugin(
        base_plugin.TBContext(logdir=str(log_dir))
    )
    plugin._update_configs()
    application = plugin.get_plugin_apps()[route]
    client = test.Client(application, wrappers.Response)
    answer = client.get(f"{route}?run=.&name={name}&num_rows=100")
    assert answer.status_code == 200, answer.data
    return answer.data


def test_read_by_tensorboard(tmp_path):
    write_projector(tmp_path, VECTORS, LABELS)
    assert json.loads(ask(tmp_path, "/runs")) == ["."]
    (described,) = json.loads(ask(tmp_path, "/info"))["embeddings"]
    assert described["tensorName"] == "vectors" and described["tensorShape"] == [5, 2]
    tensor = np.frombuffer(ask(tmp_path, "/tensor"), "f4").reshape(5, 2)
    np.testing.assert_allclose(tensor, UNIT)
    lines = ask(tmp_path, "/metadata").decode().splitlines()
    assert lines == ["a cat", "tab here", "new line", "-", "Bär"]


def test_pictures(tmp_path):
    images = [np.full((4, 4, 3), 10.0 * i) for i in range(3)]
    # Half as high as wide, encoded; and grey.
    wide = np.full((4, 8, 3), 200, np.uint8)
    images += [tf.io.encode_png(wide).numpy(), np.full((4, 4), 99)]
    write_projector(tmp_path, VECTORS, LABELS, images, image_size=4)
    (described,) = json.loads(ask(tmp_path, "/info"))["embeddings"]
    assert described["sprite"]["singleImageDim"] == [4, 4]
    sheet = np.array(Image.open(io.BytesIO(ask(tmp_path, "/sprite_image"))))
    assert sheet.shape == (12, 12, 3)
    assert [sheet[1, 4 * i].max() for i in range(3)] == [0, 10, 20]
    assert sheet[5:7, 0:4].min() == 200 and sheet[4, 0:4].max() == 0
    assert sheet[5, 5].tolist() == [99, 99, 99]
    assert sheet[4:, 8:].min() == 255


def test_several_columns_and_several_projections(tmp_path):
    write_projector(tmp_path, VECTORS, LABELS, name="texts")
    columns = {"caption": LABELS, "number": range(5)}
    write_projector(tmp_path, VECTORS, LABELS, name="images")
    path = write_projector(tmp_path, 2 * VECTORS, columns, name="images")
    embeddings = json.loads(ask(tmp_path, "/info"))["embeddings"]
    assert [e["tensorName"] for e in embeddings] == ["texts", "images"]
    lines = ask(tmp_path, "/metadata", "images").decode().splitlines()
    assert lines[:2] == ["caption\tnumber", "a cat\t0"]
    assert path == tmp_path / "projector_config.pbtxt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["one"]}, r"5 vectors. Received: \{'label': 1\}"),
        ({"images": [np.zeros((2, 2, 3))]}, "'images': 1"),
        ({"name": "a/b"}, "name='a/b'"),
        (
            {"images": [np.zeros((2, 2, 3))] * 5, "image_size": 4000},
            "which take 12000",
        ),
        ({"vectors": np.full((5, 2), np.nan)}, "first in row 0"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    arguments = {"vectors": VECTORS, "labels": LABELS, **arguments}
    with pytest.raises(ValueError, match=message):
        write_projector(tmp_path, **arguments)
