"""Sound files for tests."""

import io

import numpy as np
import soundfile


def tone(rate=16000, samples=None, frequency=440.0, loudness=0.5):
    """A sine, `samples` long (default: half a second)."""
    time = np.arange(rate // 2 if samples is None else samples) / rate
    return loudness * np.sin(2 * np.pi * frequency * time)


def sound_file(waveform, rate=16000, subtype="PCM_16", kind="WAV"):
    stream = io.BytesIO()
    soundfile.write(stream, waveform, rate, subtype, format=kind)
    return stream.getvalue()
