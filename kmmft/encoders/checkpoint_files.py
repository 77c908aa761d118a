"""Finds and reads the files of a PyTorch checkpoint: configuration and tensors."""

import dataclasses
import json
import pathlib

import numpy as np
from keras_hub.src.utils import preset_utils

from kmmft.encoders.handles import load_or_explain, read_json
from kmmft.encoders.torch_checkpoint import read_torch_checkpoint

# The weight files that each library writes, in the order of preference.
_WEIGHTS = {
    "transformers": (
        "model.safetensors.index.json",
        "model.safetensors",
        "pytorch_model.bin",
    ),
    "open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
}
_CONFIGS = {"open_clip": "open_clip_config.json", "transformers": "config.json"}

# Two towers, by their name in `transformers`; KerasHub converts none of them.
DUAL_MODELS = ("clip", "siglip", "siglip2")


@dataclasses.dataclass(frozen=True)
class CheckpointFiles:
    """What a checkpoint directory holds.

    Attributes:
        directory: A local directory or a handle such as `hf://user/name`.
        layout: The library that wrote it: `"transformers"` or `"open_clip"`.
        config: Its configuration.
        weights: File with the weights; found by its usual names if `None`.
    """

    directory: str
    layout: str
    config: dict
    weights: str | None = None

    def has(self, name: str) -> bool:
        """Whether the directory has a file of this name."""
        return preset_utils.check_file_exists(self.directory, name)

    def path(self, name: str) -> pathlib.Path:
        """Local path of a file, downloaded if it must be."""
        return pathlib.Path(preset_utils.get_file(self.directory, name))

    def json(self, name: str) -> dict:
        """Content of a JSON file; {} if it is not there."""
        return _json(self.path(name)) if self.has(name) else {}

    def tensors(self) -> dict[str, np.ndarray]:
        """All tensors by name.

        Raises:
            ValueError: If there are none, or a file is damaged.
        """
        names = [self.weights] if self.weights else _WEIGHTS[self.layout]
        name = next((name for name in names if self.has(name)), None)
        if name is None:
            raise ValueError(
                f"`path` must hold the weights, one of {', '.join(names)}. "
                f"Received: {self.directory}. Download the checkpoint again"
            )
        if not name.endswith(".index.json"):
            return _read_tensors(self.path(name))
        tensors = {}
        for shard in sorted(set(self.json(name).get("weight_map", {}).values())):
            if not self.has(shard):
                raise ValueError(
                    f"`path` must hold every file that {name} names. Received: "
                    f"{self.directory} without {shard}. Download the checkpoint again"
                )
            tensors |= _read_tensors(self.path(shard))
        return tensors


def is_dual_checkpoint(handle: str | pathlib.Path) -> bool:
    """Whether `handle` is a CLIP or SigLIP of `transformers` or open_clip.

    Only local directories and `hf://user/name` are looked at.
    """
    handle = str(handle)
    if not handle.startswith("hf://") and not pathlib.Path(handle).is_dir():
        return False
    if load_or_explain(
        lambda: preset_utils.check_file_exists(handle, _CONFIGS["open_clip"]),
        handle,
        "a checkpoint",
    ):
        return True
    return read_json(handle, "config.json").get("model_type") in DUAL_MODELS


def find_checkpoint(path: str | pathlib.Path) -> CheckpointFiles:
    """Finds the configuration of a checkpoint.

    Args:
        path: A directory in the layout of `transformers` or open_clip, a
            `.safetensors` file with its configuration beside it, or a handle such
            as `hf://user/name`.

    Raises:
        ValueError: If there is no such checkpoint.
    """
    directory, weights = str(path), None
    if "://" not in directory:
        local = pathlib.Path(path)
        if local.suffix == ".safetensors":
            directory, weights = str(local.parent), local.name
        if not (local.is_file() if weights else local.is_dir()):
            raise ValueError(
                "`path` must be a checkpoint's directory, a .safetensors file with "
                f"its configuration beside it, or hf://user/name. Received: {path}. "
                "Check the name"
            )
    for layout, name in _CONFIGS.items():
        files = CheckpointFiles(directory, layout, {}, weights)
        # The first look at a remote handle is the one that may fail.
        if load_or_explain(lambda f=files, n=name: f.has(n), directory, "a checkpoint"):
            return dataclasses.replace(files, config=files.json(name))
    raise ValueError(
        f"`path` must hold {' or '.join(_CONFIGS.values())}. Received: {path}. "
        "Download the configuration as well as the weights"
    )


def _json(path: pathlib.Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
        return content
    except ValueError as error:
        raise ValueError(
            f"The checkpoint's JSON files must be valid. Received: {path} ({error}). "
            "Download it again"
        ) from error


def _read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path.suffix != ".safetensors":
        return read_torch_checkpoint(path)
    import safetensors.numpy  # needed only here

    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"`path` must hold whole .safetensors files. Received: {path} ({error}). "
            "Download it again"
        ) from error
