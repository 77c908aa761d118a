import http.server
import json
import threading

import numpy as np
import pytest

from kmmft.serving.drift_monitor import DriftMonitor
from kmmft.serving.drift_statistics import (
    population_stability,
    reference_of,
    row_statistics,
)


def test_index_by_hand():
    reference = {"edges": [1.0, 2.0], "shares": [0.5, 0.25, 0.25]}
    # A value on an edge belongs below it: shares of 1/4, 1/2, 1/4.
    found = population_stability(np.array([1.0, 2.0, 1.5, 9.0]), reference)
    expected = -0.25 * np.log(0.5) + 0.25 * np.log(2)
    assert found == pytest.approx(expected)


def test_an_empty_bin_has_a_finite_index():
    reference = {"edges": [1.0], "shares": [0.5, 0.5]}
    found = population_stability(np.zeros(10), reference)
    expected = 0.5 * np.log(2) + (1e-4 - 0.5) * np.log(2e-4)
    assert found == pytest.approx(expected)


def test_chance_and_change():
    random = np.random.default_rng(0)
    reference = reference_of(random.normal(size=5000))
    assert len(reference["edges"]) == 9
    np.testing.assert_allclose(reference["shares"], 0.1, atol=1e-3)
    assert population_stability(random.normal(size=1000), reference) < 0.03
    assert population_stability(random.normal(1.0, size=1000), reference) > 0.5
    # Few different values have fewer bins.
    assert reference_of(np.array([1.0] * 99 + [2.0]))["edges"] == [1.0]


def test_statistics_of_rows():
    inputs = {
        "text": np.array(["é b".encode(), b"bad"], object),
        "image": np.array([b"\x89PNG\0\0", b"\0"], object),
        "age": np.array([np.nan, 3.0], np.float32),
    }
    vectors = np.array([[3.0, 4.0], [9.0, 9.0]], np.float32)
    outputs = {
        "embedding": vectors,
        "probabilities": np.array([[0.3, 0.7], [1.0, 0.0]]),
        "index": np.array([1, 2]),
        "error": np.array([b"", b"cannot be decoded"], object),
    }
    found = row_statistics(inputs, outputs)
    assert found["text/bytes"].tolist() == [4] and found["text/words"].tolist() == [2]
    assert found["text/beyond_ascii"].tolist() == [2]
    assert found["image/bytes"].tolist() == [6] and "image/words" not in found
    assert found["age/missing"].tolist() == [1] and found["age"].tolist() == []
    assert found["embedding/length"].tolist() == [5]
    assert found["probabilities/largest"].tolist() == [0.7]
    directions = np.random.default_rng(2).normal(size=(2, 8))
    along = vectors[0] @ directions / np.sqrt(2)
    np.testing.assert_allclose(
        [found[f"embedding/direction_{k}"][0] for k in range(8)], along
    )


def test_numbers_drift_by_value_and_by_what_is_missing():
    ages = np.random.default_rng(0).normal(50, 9, 500)
    parts = row_statistics({"age": np.float32(ages)}, {})
    references = {name: reference_of(values) for name, values in parts.items()}
    windows = []
    monitor = DriftMonitor(
        {"classify": references},
        window=100,
        on_window=lambda psi, alarm: windows.append((psi, alarm)),
    )
    monitor.observe("classify", {"age": np.float32(ages[:100])}, {})
    monitor.observe("classify", {"age": np.full(100, np.nan, np.float32)}, {})
    monitor.observe("classify", {"age": np.float32(ages[:100] + 30)}, {})
    assert [alarm for _, alarm in windows] == [False, True, True]
    missing, older = windows[1][0], windows[2][0]
    assert set(missing) == {"classify/age/missing"}
    assert missing["classify/age/missing"] > 1 > older["classify/age/missing"]
    assert older["classify/age"] > 1


def test_a_window_that_drifted_raises_an_alarm_and_calls_the_webhook():
    received = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            received.append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    done, windows = threading.Event(), []
    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        random = np.random.default_rng(0)
        monitor = DriftMonitor(
            {"s": {"probability": reference_of(random.uniform(size=1000))}},
            window=200,
            on_window=lambda psi, alarm: windows.append((psi, alarm)),
            webhook=f"http://127.0.0.1:{hook.server_port}",
        )
        for _ in range(20):
            monitor.observe("s", {}, {"probability": random.uniform(size=10)})
        monitor.observe("other", {}, {"probability": np.ones(10)})
        for _ in range(20):
            monitor.observe("s", {}, {"probability": random.uniform(0.8, 1, size=10)})
        assert done.wait(30)
        hook.shutdown()
    (calm, no_alarm), (changed, alarm) = windows
    assert calm["s/probability"] < 0.15 and not no_alarm
    assert changed["s/probability"] > 1 and alarm
    (message,) = received
    assert message["signature"] == "s"
    assert message["drifted"]["s/probability"] == changed["s/probability"]
