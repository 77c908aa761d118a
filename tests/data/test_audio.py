"""Sounds are decoded as libsndfile does, and resampled as theory has it."""

import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

import kmmft
from tests.data.sounds import sound_file, tone

RATE, SAMPLES = 16000, 4000


@pytest.fixture(scope="module")
def decode():
    return tf.function(
        lambda encoded: kmmft.data.decode_audio(encoded, RATE, SAMPLES),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_every_coding_is_decoded_as_libsndfile_does(decode, subtype, kind):
    stereo = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    encoded = sound_file(stereo, RATE, subtype, kind)
    expected, _ = soundfile.read(io.BytesIO(encoded), dtype="float32")
    waveform, mask = decode(encoded)
    assert waveform.shape == mask.shape == (SAMPLES,)
    np.testing.assert_allclose(waveform[:1000], expected.mean(axis=1), atol=1e-7)
    assert not np.any(waveform[1000:])
    np.testing.assert_array_equal(mask, np.arange(SAMPLES) < 1000)


def test_plain_files_are_decoded_as_tensorflow_does(decode):
    encoded = sound_file(tone(RATE, 9000))
    expected, _ = tf.audio.decode_wav(encoded)
    waveform, mask = decode(encoded)
    np.testing.assert_array_equal(waveform, expected[:SAMPLES, 0])
    assert np.all(mask)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 44099])
def test_a_tone_has_the_same_pitch_at_another_rate(decode, rate):
    waveform, mask = decode(sound_file(tone(rate, rate // 5, 1000.0), rate, "FLOAT"))
    length = -(-(rate // 5) * RATE // rate)
    assert np.sum(mask) == length and not np.any(waveform[length:])
    # Ends ring, since the tone begins and stops at once there.
    inside = slice(400, length - 400)
    expected = tone(RATE, length, 1000.0)
    np.testing.assert_allclose(waveform[inside], expected[inside], atol=2e-3)


def test_what_is_too_high_does_not_come_back_lower(decode):
    waveform, _ = decode(sound_file(tone(96000, 96000, 20000.0), 96000, "FLOAT"))
    assert np.abs(waveform[400:-400]).max() < 2e-3


def test_a_long_sound_is_as_its_beginning(decode):
    sound = tone(44100, 88200, 300.0) * np.linspace(0, 1, 88200)
    whole, mask = decode(sound_file(sound, 44100))
    part = kmmft.data.resample_audio(np.float32(sound), 44100, RATE)
    assert np.all(mask)
    np.testing.assert_allclose(whole[:-300], part[: SAMPLES - 300], atol=1e-4)


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def form(coding=1, channels=1, rate=RATE, bits=16):
    frame = channels * bits // 8
    fields = (coding, channels, rate, rate * frame, frame, bits)
    return chunk(b"fmt ", struct.pack("<HHIIHH", *fields))


def test_other_chunks_are_passed_over(decode):
    notes = chunk(b"LIST", b"data of an odd length")
    samples = chunk(b"data", struct.pack("<2h", 16384, -16384))
    waveform, mask = decode(wav(notes, form(), notes, samples, notes))
    assert waveform.numpy()[:3].tolist() == [0.5, -0.5, 0.0] and np.sum(mask) == 2


def test_a_length_that_was_not_known_is_to_the_end(decode):
    encoded = wav(form()) + b"data\xff\xff\xff\xff" + struct.pack("<3h", 1, 2, 3)
    _, mask = decode(encoded)
    assert np.sum(mask) == 3


WHOLE = sound_file(tone())
BAD = {
    "is empty": b"",
    "is not a WAV file": b"<html>404</html>",
    "is FLAC, not WAV: build the records with --audio_to_wav": sound_file(
        tone(), kind="FLAC"
    ),
    "is Ogg": sound_file(tone(), subtype="VORBIS", kind="OGG"),
    "is cut short": WHOLE[:-9],
    "without samples or their format": WHOLE[:30],
    "has no samples": sound_file(np.zeros(0)),
    "has coding 7 of 8 bit": sound_file(tone(), subtype="ULAW"),
    "has 999 samples a second": wav(form(rate=999), chunk(b"data", b"12")),
    "has no channel": wav(form(channels=0), chunk(b"data", b"12")),
    "samples that are no numbers": sound_file(
        np.array([0, np.nan, 0]), subtype="FLOAT"
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_files_are_named(decode, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(BAD[message])


def test_a_million_empty_chunks_end_soon(decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="without samples"):
        decode(wav(b"\0" * 8_000_000))


def test_a_bad_row_spoils_no_other():
    rows = tf.constant(
        [
            WHOLE,
            BAD["is FLAC, not WAV: build the records with --audio_to_wav"],
            b"",
            WHOLE,
        ]
    )

    @tf.function
    def answer(rows):
        return kmmft.data.decode_rows(
            rows,
            lambda one: kmmft.data.decode_audio(one, RATE, SAMPLES),
            fault=kmmft.data.wav_fault,
        )

    (waveforms, masks), errors = answer(rows)
    np.testing.assert_array_equal(waveforms[0], waveforms[3])
    assert np.any(waveforms[0]) and not np.any(waveforms[1:3]) and np.all(masks[0])
    assert [bool(error) for error in errors.numpy()] == [False, True, True, False]
    assert errors.numpy()[2] == b"is empty."


@pytest.mark.parametrize("numbers", [(0, 10), (16000, 0)])
def test_bad_arguments(numbers):
    with pytest.raises(ValueError, match=r"must be positive\. Received: sample_rate="):
        kmmft.data.decode_audio(WHOLE, *numbers)
