"""Runs the examples in the public docstrings."""

import doctest
import importlib
import pkgutil

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools


def modules() -> list[str]:
    packages = (kmmft, tfrecords_tools)
    return [
        module.name
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
    ]


@pytest.mark.parametrize("name", modules())
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(
        importlib.import_module(name),
        extraglobs={
            "kmmft": kmmft,
            "keras": keras,
            "keras_hub": keras_hub,
            "np": np,
            "tf": tf,
        },
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    assert results.failed == 0
