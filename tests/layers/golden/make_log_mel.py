"""Writes log_mel.npz: spectrograms by transformers and librosa, for `LogMel`.

pip install transformers librosa
python tests/layers/golden/make_log_mel.py
"""

import pathlib

import librosa
import numpy as np
from transformers import WhisperFeatureExtractor


def sound(sample_rate: int, seconds: float) -> np.ndarray:
    """A rising tone with noise, then a pause; near silence at both ends."""
    time = np.arange(int(sample_rate * seconds)) / sample_rate
    tone = np.sin(2 * np.pi * (200 * time + 3000 * time**2))
    noise = np.random.RandomState(0).uniform(-1, 1, len(time))
    loudness = np.sin(np.pi * time / seconds) ** 2 * (time < 0.8 * seconds)
    return ((0.5 * tone + 0.1 * noise) * loudness).astype(np.float32)


def whisper(num_mels: int) -> np.ndarray:
    extractor = WhisperFeatureExtractor(feature_size=num_mels, chunk_length=1)
    features = extractor(sound(16000, 0.7), sampling_rate=16000, return_tensors="np")
    return features["input_features"][0].T


def by_librosa() -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=sound(22050, 0.5),
        sr=22050,
        n_fft=1024,
        hop_length=256,
        n_mels=64,
        fmin=50,
        fmax=10000,
        pad_mode="reflect",
    )[:, :-1]
    logarithm = np.log10(np.maximum(power, 1e-10))
    return ((np.maximum(logarithm, logarithm.max() - 8) + 4) / 4).T


if __name__ == "__main__":
    np.savez_compressed(
        pathlib.Path(__file__).with_name("log_mel.npz"),
        whisper_80=whisper(80),
        whisper_128=whisper(128)[::4],
        librosa=by_librosa(),
    )
