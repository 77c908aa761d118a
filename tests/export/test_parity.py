"""The comparison of a model with its export, by hand values."""

import numpy as np
import pytest

import kmmft
from kmmft.export.run_saved_model import (
    from_json,
    request_from_arguments,
    respond,
    to_json,
)

INFINITY = float("inf")
NAN = float("nan")


@pytest.mark.parametrize(
    ("expected", "received", "difference"),
    [
        (np.array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.5]], (0.5, 1)),
        (np.array([1.0, NAN]), [1.0, NAN], (0.0, 0)),
        (np.array([1.0, NAN]), [1.0, 2.0], (INFINITY, 1)),
        (np.array([1.0, INFINITY]), [1.0, INFINITY], (0.0, 0)),
        (np.array([1.0, 2.0]), [1.0], (INFINITY, 0)),
        (np.array([5, 2**60]), [5, 2**60 + 1], (1.0, 1)),
        (np.array([True, False]), [True, True], (1.0, 1)),
        (np.zeros((0, 3)), np.zeros((0, 3)).tolist(), (INFINITY, 0)),
        (np.zeros((0,)), [], (0.0, 0)),
        (np.array([b"a", b"b"], object), [b"a", b"b"], (0.0, 0)),
        (np.array([b"a", b"b"], object), [b"a", b"b\0"], (INFINITY, 1)),
        (np.array([[b"a"], [b"b"]], object), [[b"a"], [b"c"]], (INFINITY, 1)),
        (np.array([b"a"], object), [b"a", b"a"], (INFINITY, 0)),
    ],
)
def test_largest_difference(expected, received, difference):
    assert kmmft.export.largest_difference(expected, received) == difference


def test_compare_lets_the_tolerance_pass():
    expected = {"serve": {"a": np.array([1.0])}}
    report = kmmft.export.compare(expected, {"serve": {"a": [1.25]}}, 0.25)
    assert report == {"serve": {"a": 0.25}}
    with pytest.raises(ValueError, match=r"0\.25 in output 'a' of signature 'serve'"):
        kmmft.export.compare(expected, {"serve": {"a": [1.25]}}, 0.2)


def test_json_keeps_every_byte_and_number():
    values = [[b"", b"gr\xc3\xbcn", b"\xff\xd8\0\0"], [0.1, 1, True, NAN]]
    assert repr(from_json(to_json(values))) == repr(values)


def test_arguments_become_a_request(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89")
    arguments = ["--image", str(tmp_path / "a.png"), "--question", "why?"]
    assert request_from_arguments("answer", arguments) == {
        "signature_name": "answer",
        "inputs": {"image": [{"b64": "iQ=="}], "question": ["why?"]},
    }


@pytest.mark.parametrize("arguments", [["--question"], ["question", "why?"]])
def test_odd_arguments_are_refused(arguments):
    with pytest.raises(SystemExit, match="--NAME VALUE"):
        request_from_arguments("answer", arguments)


def test_unknown_signature_is_refused():
    with pytest.raises(SystemExit, match=r"No signature 'x'. The model has: \['y'\]"):
        respond(None, {"y": None}, {"signature_name": "x", "inputs": {}})
