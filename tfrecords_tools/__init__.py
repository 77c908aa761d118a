"""Builds data directories for training: sharded TFRecord files that TFDS opens.

`python -m tfrecords_tools --help` shows the commands; the functions below are the
same from Python.
"""

import importlib
from typing import Any

# Loaded on first use, so that `--help` is quick.
_HOMES = {
    "BuildOptions": "build_options",
    "BuildPlan": "build_result",
    "BuildResult": "build_result",
    "DatasetWriter": "writer",
    "build_annotations": "sources.annotations",
    "build_conll": "sources.conll",
    "build_easy_vqa": "sources.easy_vqa",
    "build_gettext": "sources.gettext_catalogues",
    "build_huggingface": "sources.huggingface",
    "build_easy_vqa_captions": "sources.easy_vqa_captions",
    "build_image_folder": "sources.image_folder",
    "build_manifest": "sources.manifest",
    "build_open_clip_art": "sources.open_clip_art",
    "build_open_clip_art_classes": "sources.open_clip_art_classes",
    "build_sentiment": "sources.sentiment",
    "build_squad": "sources.squad",
    "build_tfds": "sources.tfds_dataset",
    "build_webdataset": "sources.webdataset",
    "write_easy_vqa_entailment": "sources.easy_vqa_entailment",
    "export_data": "exporting",
    "inspect_data": "inspection",
    "merge_data": "merge",
    "preview_data": "preview",
    "read_audio": "audio_bytes",
    "read_video": "video_frames",
    "reshard_data": "reshard",
    "sample_data": "sample",
    "verify_data": "verify",
}

__all__ = [
    "BuildOptions",
    "BuildPlan",
    "BuildResult",
    "DatasetWriter",
    "build_annotations",
    "build_conll",
    "build_easy_vqa",
    "build_easy_vqa_captions",
    "build_gettext",
    "build_huggingface",
    "build_image_folder",
    "build_manifest",
    "build_open_clip_art",
    "build_open_clip_art_classes",
    "build_sentiment",
    "build_squad",
    "build_tfds",
    "build_webdataset",
    "export_data",
    "inspect_data",
    "merge_data",
    "preview_data",
    "read_audio",
    "read_video",
    "reshard_data",
    "sample_data",
    "verify_data",
    "write_easy_vqa_entailment",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
