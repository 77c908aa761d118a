"""The golden CLIPs and SigLIPs: their inputs, and copies of them."""

import json
import pathlib
import shutil

import keras
import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"


def image(size):
    """The formula of make_dual_golden.py."""
    n, y, x, c = np.meshgrid(range(2), *[range(size)] * 2, range(3), indexing="ij")
    pixels = 127.5 + 127.5 * np.sin(0.17 * x + 0.31 * y + 1.3 * c + 2.1 * n)
    return pixels.astype("float32")


def texts(name):
    """Some of the golden token ids and the mask of what is no padding."""
    all_ids = np.load(GOLDEN / "token_ids.npz")
    if "siglip" in name:
        ids = all_ids["siglip"][::250].astype("int32")
        return {"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}
    ids = all_ids["clip"][::250].astype("int32")
    padding = np.cumsum(ids == ids.max(), axis=1) > 1
    return {"token_ids": ids, "padding_mask": ~padding}


def unit(vectors):
    return keras.utils.normalize(keras.ops.convert_to_numpy(vectors))


def copied(name, directory):
    """A copy of a golden checkpoint, which a test may spoil."""
    return pathlib.Path(shutil.copytree(GOLDEN / name, directory / name))


def edit(path, change):
    """Changes the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
