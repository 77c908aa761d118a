"""A missing number's way from the client over REST to the served signature."""

import types

import numpy as np
import tensorflow as tf

from kmmft.export.bundle.client import ServingClient
from kmmft.serving.limits import Limits
from kmmft.serving.request_arrays import request_arrays
from kmmft.serving.rest_format import read_body

SPECS = {
    "age": tf.TensorSpec([None], tf.float32),
    "site": tf.TensorSpec([None], tf.string),
}
SIGNATURES = {
    "classify": {"inputs": {key: {} for key in SPECS}, "outputs": {"label": {}}}
}


def test_nan_and_the_empty_string_arrive(monkeypatch):
    import requests

    sent = []

    def post(session, url, data, headers, timeout):
        sent.append(data)
        answer = {"outputs": ["no", "no"]}
        return types.SimpleNamespace(status_code=200, json=lambda: answer)

    monkeypatch.setattr(requests.Session, "post", post)
    client = ServingClient("http://localhost:1", "tiny", SIGNATURES)
    rows = {"age": [61.5, float("nan")], "site": ["", "leg"]}
    assert client.predict("classify", rows) == {"label": ["no", "no"]}
    arrays = request_arrays(SPECS, read_body(sent[0]).inputs, Limits())
    np.testing.assert_array_equal(arrays["age"], np.float32([61.5, np.nan]))
    assert arrays["site"].tolist() == [b"", b"leg"]
