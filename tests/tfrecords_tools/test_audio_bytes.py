import io
import struct
import sys

import numpy as np
import pytest

from tfrecords_tools import BuildOptions
from tfrecords_tools.audio_bytes import audio_reader, read_audio

soundfile = pytest.importorskip("soundfile")

KINDS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
]


def sound(kind="WAV", subtype="PCM_16", channels=1, samples=16000, rate=16000):
    wave = np.sin(np.arange(samples) / 20).astype(np.float32) * 0.5
    stream = io.BytesIO()
    wave = np.stack([wave] * channels, axis=1)
    soundfile.write(stream, wave, rate, format=kind, subtype=subtype)
    return stream.getvalue()


@pytest.fixture
def read(tmp_path):
    def from_bytes(encoded, **arguments):
        (tmp_path / "a.wav").write_bytes(encoded)
        return read_audio(tmp_path / "a.wav", **arguments)

    return from_bytes


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_whole_and_cut(read, kind, subtype):
    encoded = sound(kind, subtype, channels=2)
    found = read(encoded)
    assert found == {"audio": encoded, "sample_rate": 16000, "num_samples": 16000}
    assert read(encoded, decode=False) == found
    size = len(encoded)
    for cut in (size - 1, size * 9 // 10, size // 2, 100, 30, 4):
        with pytest.raises(ValueError, match=r"a\.wav' .*fetch"):
            read(encoded[:cut])


def test_flipped_bytes_in_flac(read):
    encoded = bytearray(sound("FLAC"))
    encoded[len(encoded) // 2] ^= 0xFF
    with pytest.raises(ValueError, match="cannot be decoded"):
        read(bytes(encoded))


def wav(rate=16000, channels=1, data=b"\0\0" * 100, size=None, bits=16, kind=1):
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * width, width, bits)
    size = len(data) if size is None else size
    content = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    content += b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(content)) + content


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "has no bytes"),
        (wav(data=b""), "has no samples"),
        (wav(rate=8), "has 8 samples a second"),
        (wav(rate=2_000_000_000), "2,000,000,000 samples a second|cannot be decoded"),
        (wav(channels=100, data=b"\0" * 20_000), "has 100 channels|cannot be decoded"),
        (wav(data=b"\0\0" * 48_000), r"has 3\.0 seconds, of 2 seconds.*--max_seconds"),
        (wav(data=b"\0\0\xc0\x7f", bits=32, kind=3), "samples that are no numbers"),
        (b"ID3\4" + bytes(100), "is an MP3, not WAV, FLAC or Ogg"),
        (b"<html>404</html>", "is an HTML page"),
        (b"garbage garbage", r"begins with b'garbage '"),
        (b"fLaC" + bytes(100), "cannot be decoded"),
        (b"RIFF\0\0\0\0WAVE" + bytes(100), "is cut short|cannot be decoded"),
    ],
)
def test_bad_sounds(read, encoded, message):
    with pytest.raises(ValueError, match=message):
        read(encoded, max_seconds=2.0)


def test_wav_of_a_stream(read):
    """A program that writes into a pipe cannot go back to write the length."""
    assert read(wav(size=0xFFFFFFFF))["num_samples"] == 100


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.wav' does not exist"):
        read_audio(tmp_path / "gone.wav")
    with pytest.raises(ValueError, match="cannot be read"):
        read_audio(tmp_path)


def test_reader(monkeypatch):
    with pytest.raises(ValueError, match="max_seconds=0"):
        audio_reader(0, BuildOptions())
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'kmmft\[audio\]'"):
        audio_reader(10, BuildOptions())
