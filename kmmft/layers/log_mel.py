"""Log-mel spectrogram: how loud each pitch is at each moment."""

import keras
import numpy as np
import tensorflow as tf

_LINEAR_BELOW = 1000.0  # Hz; above, the scale is logarithmic.
_HZ_PER_MEL = 200 / 3
_LOG_STEP = np.log(6.4) / 27


@keras.saving.register_keras_serializable("kmmft")
class LogMel(keras.layers.Layer):
    """Turns waveforms into log-mel spectrograms, as Whisper takes them.

    The power spectrum of windows of Hann's shape, centred `stride` samples apart, is
    summed in bands of Slaney's mel scale. Its logarithm to base 10 is cut off 8 below
    the loudest of the sound, and then `(x + 4) / 4`. Computed in float32 whatever the
    policy, with TensorFlow's own operations: works in `tf.data` and when exported.

    Args:
        sample_rate: Samples a second of the waveforms.
        num_mels: Bands.
        window: Samples of a window, which is also the length of the transform.
        stride: Samples from one frame to the next.
        min_frequency: Lower end of the lowest band, in Hz.
        max_frequency: Upper end of the highest band; default: half the sample rate.

    Call arguments:
        waveform: float tensor `(batch, samples)`, of more than half a window.

    Returns:
        float32 tensor `(batch, samples // stride, num_mels)`.

    Raises:
        ValueError: If a number is not positive, or the frequencies are in no order.

    Example:
        >>> kmmft.layers.LogMel()(np.zeros((2, 16000))).shape
        TensorShape([2, 100, 80])

    References:
        - [Radford et al., 2022](https://arxiv.org/abs/2212.04356), section 2.2.
        - [Slaney, 1998](https://engineering.purdue.edu/~malcolm/interval/1998-010/),
          the mel scale and the bands' areas.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mels: int = 80,
        window: int = 400,
        stride: int = 160,
        min_frequency: float = 0.0,
        max_frequency: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        highest = sample_rate / 2 if max_frequency is None else max_frequency
        numbers = {
            "sample_rate": sample_rate,
            "num_mels": num_mels,
            "window": window,
            "stride": stride,
        }
        reachable = 0 <= min_frequency < highest <= sample_rate / 2
        if min(numbers.values()) < 1 or not reachable:
            raise ValueError(
                "Numbers must be positive, and `min_frequency` below `max_frequency`, "
                "which is at most half the sample rate. "
                f"Received: {numbers}, min_frequency={min_frequency}, "
                f"max_frequency={max_frequency}."
            )
        self.sample_rate = sample_rate
        self.num_mels = num_mels
        self.window = window
        self.stride = stride
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self._filters = mel_filters(
            sample_rate, window, num_mels, min_frequency, highest
        )

    def call(self, waveform):
        waveform = tf.cast(waveform, tf.float32)
        half = self.window // 2
        sides = [half, self.window - half]
        waveform = tf.pad(waveform, [[0, 0], sides], "REFLECT")
        spectrum = tf.signal.stft(
            waveform, self.window, self.stride, fft_length=self.window
        )
        power = tf.square(tf.abs(spectrum[:, :-1]))
        mel = tf.maximum(tf.matmul(power, self._filters), 1e-10)
        logarithm = tf.math.log(mel) / np.log(10).astype(np.float32)
        loudest = tf.reduce_max(logarithm, axis=(1, 2), keepdims=True)
        return (tf.maximum(logarithm, loudest - 8.0) + 4.0) / 4.0

    def compute_output_spec(self, waveform):
        batch, samples = waveform.shape
        frames = None if samples is None else samples // self.stride
        return keras.KerasTensor((batch, frames, self.num_mels), "float32")

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "num_mels": self.num_mels,
            "window": self.window,
            "stride": self.stride,
            "min_frequency": self.min_frequency,
            "max_frequency": self.max_frequency,
        }


def mel_filters(
    sample_rate: int,
    window: int,
    num_mels: int,
    min_frequency: float,
    max_frequency: float,
) -> np.ndarray:
    """Bands of Slaney's mel scale: triangles of equal area.

    Keras' and TensorFlow's own bands are HTK's, which Whisper and CLAP do not use.

    Returns:
        float32 array `(window // 2 + 1, num_mels)`.
    """
    ends = _to_mel(np.array([min_frequency, max_frequency]))
    edges = _to_hz(np.linspace(*ends, num_mels + 2))
    bins = np.fft.rfftfreq(window, 1 / sample_rate)[:, np.newaxis]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (upper - lower)).astype(np.float32)


def _to_mel(hz: np.ndarray) -> np.ndarray:
    above = np.log(np.maximum(hz, _LINEAR_BELOW) / _LINEAR_BELOW) / _LOG_STEP
    return np.minimum(hz, _LINEAR_BELOW) / _HZ_PER_MEL + above


def _to_hz(mel: np.ndarray) -> np.ndarray:
    linear = _LINEAR_BELOW / _HZ_PER_MEL
    above = _LINEAR_BELOW * np.exp(_LOG_STEP * (mel - linear))
    return np.where(mel < linear, mel * _HZ_PER_MEL, above)
