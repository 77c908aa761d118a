"""Spectrograms equal those of transformers and librosa; see golden/make_log_mel.py."""

import pathlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.layers import LogMel

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden/log_mel.npz")


def sound(sample_rate, seconds):
    """As in golden/make_log_mel.py."""
    time = np.arange(int(sample_rate * seconds)) / sample_rate
    tone = np.sin(2 * np.pi * (200 * time + 3000 * time**2))
    noise = np.random.RandomState(0).uniform(-1, 1, len(time))
    loudness = np.sin(np.pi * time / seconds) ** 2 * (time < 0.8 * seconds)
    return ((0.5 * tone + 0.1 * noise) * loudness).astype(np.float32)


def second():
    return np.pad(sound(16000, 0.7), (0, 4800))


@pytest.mark.parametrize(("num_mels", "every"), [(80, 1), (128, 4)])
def test_equals_whispers(num_mels, every):
    made = np.asarray(LogMel(num_mels=num_mels)(second()[None]))[0]
    assert made.shape == (100, num_mels)
    golden = GOLDEN[f"whisper_{num_mels}"]
    np.testing.assert_allclose(made[::every], golden, atol=1e-4)


def test_equals_librosas():
    layer = LogMel(22050, 64, 1024, 256, min_frequency=50, max_frequency=10000)
    made = layer(sound(22050, 0.5)[None])[0]
    np.testing.assert_allclose(made, GOLDEN["librosa"], atol=1e-4)


def test_equals_kerashubs_in_graph():
    converter = keras_hub.layers.WhisperAudioConverter(max_audio_length=1)
    waveform = tf.constant(second()[None])
    expected = tf.function(converter)(waveform)
    made = tf.function(LogMel())(waveform)
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_silence_and_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    made = LogMel()(np.zeros((2, 800), np.float32))
    assert made.dtype == "float32" and made.shape == (2, 5, 80)
    np.testing.assert_allclose(made, -1.5)


def test_config():
    layer = LogMel(8000, 40, 200, 80, 20.0, 3800.0)
    again = LogMel.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert LogMel()(keras.KerasTensor((None, 16000))).shape == (None, 100, 80)
    odd = LogMel(sample_rate=22050, window=551, stride=441)
    assert odd(np.ones((1, 22050), "float32")).shape == (1, 50, 80)


@pytest.mark.parametrize(
    "options",
    [
        {"num_mels": 0},
        {"min_frequency": 9000.0},
        {"max_frequency": 0.0},
        {"max_frequency": 8001.0},
    ],
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="Received: "):
        LogMel(**options)
