"""What a WAV file says of itself, read in graph before it is decoded."""

from typing import NamedTuple

import tensorflow as tf

from kmmft.data.image_headers import little_endian

PCM, FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# By coding and bits of a sample: what can be decoded.
CODINGS = ((PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64))
_MIN_RATE, _MAX_RATE = 1_000, 768_000
_MAX_CHANNELS = 64
# A hostile file could be all empty chunks.
_MOST_CHUNKS = 1024
# Stands for a length that was not known when the file was begun.
_UNKNOWN_SIZE = 0xFFFFFFFF


class WavHeader(NamedTuple):
    """Numbers from the head of a WAV file, scalars.

    Attributes:
        coding: Place among `CODINGS`, int32.
        channels: int32.
        rate: Samples a second of each channel, int32.
        start: Byte at which the samples begin, int32.
        num_samples: Samples of each channel, int32.
        fault: Why it cannot be decoded, string; empty if it can.
    """

    coding: tf.Tensor
    channels: tf.Tensor
    rate: tf.Tensor
    start: tf.Tensor
    num_samples: tf.Tensor
    fault: tf.Tensor


def read_wav_header(encoded: tf.Tensor) -> WavHeader:
    """Reads the head of a WAV file, whatever the bytes are.

    Args:
        encoded: scalar string tensor, the bytes of the file.

    Returns:
        `WavHeader`. Where `fault` is not empty, its numbers mean nothing.

    Example:
        >>> wav = tf.audio.encode_wav(tf.zeros((400, 2)), 8000)
        >>> header = kmmft.data.wav_headers.read_wav_header(wav)
        >>> header.rate.numpy().item(), header.num_samples.numpy().item()
        (8000, 400)

    References:
        - [Multimedia Programming Interface and Data Specifications
          1.0](https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html).
    """
    length = tf.strings.length(encoded)
    form, data, size = _find_chunks(encoded, length)
    fields = _bytes(encoded, form, 26)
    coding = _u16(fields, 0)
    coding = tf.where(coding == _EXTENSIBLE, _u16(fields, 24), coding)
    channels, bits = _u16(fields, 2), _u16(fields, 14)
    rate = little_endian(fields[4:8])
    known = tf.reduce_all(tf.stack([coding, bits]) == tf.constant(CODINGS), axis=1)
    rest = tf.cast(length - data, tf.int64)
    unknown = size == _UNKNOWN_SIZE
    frame = tf.maximum(channels * bits // 8, 1)
    num_samples = tf.cast(tf.where(unknown, rest, size), tf.int32) // frame
    fault = _first_that_is_so(
        *_foreign(encoded, length),
        ("is a WAV file without samples or their format.", (form < 0) | (data < 0)),
        (_coding_fault(coding, bits), ~tf.reduce_any(known)),
        ("has no channel: mend its header.", channels < 1),
        (f"has more than {_MAX_CHANNELS} channels: mix it.", channels > _MAX_CHANNELS),
        (_rate_fault(rate), (rate < _MIN_RATE) | (rate > _MAX_RATE)),
        ("is cut short: fetch it again.", ~unknown & (size > rest)),
        ("has no samples: leave it out.", num_samples < 1),
    )
    # Whoever divides by the rate before looking at the fault gets no other error.
    rate = tf.where(fault == "", tf.cast(rate, tf.int32), _MIN_RATE)
    kind = tf.argmax(known, output_type=tf.int32)
    return WavHeader(kind, channels, rate, data, num_samples, fault)


def wav_fault(encoded: tf.Tensor) -> tf.Tensor:
    """Why a sound cannot be decoded, scalar string; empty if its head is sound."""
    return read_wav_header(encoded).fault


def _first_that_is_so(*faults: tuple) -> tf.Tensor:
    found = tf.constant("")
    for text, is_so in faults:
        found = tf.where((found == "") & is_so, text, found)
    return found


def _coding_fault(coding: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    known = "PCM of 8, 16, 24 and 32 bit and floats of 32 and 64 bit are decoded"
    numbers = ["has coding ", _text(coding), " of ", _text(bits), " bit; "]
    return tf.strings.join([*numbers, known, ": convert it."])


def _rate_fault(rate: tf.Tensor) -> tf.Tensor:
    range_ = f"where {_MIN_RATE} to {_MAX_RATE} may be: mend its header."
    return tf.strings.join(["has ", _text(rate), " samples a second, ", range_])


def _foreign(encoded: tf.Tensor, length: tf.Tensor) -> list[tuple]:
    def begins(start, magic):
        return tf.reduce_all(_bytes(encoded, start, 4) == tf.constant(list(magic)))

    advice = "not WAV: build the records with --audio_to_wav, or convert it."
    riff = begins(0, b"RIFF") | begins(0, b"RF64")
    return [
        ("is empty.", length == 0),
        (f"is FLAC, {advice}", begins(0, b"fLaC")),
        (f"is Ogg, {advice}", begins(0, b"OggS")),
        ("is not a WAV file: convert it.", ~(riff & begins(8, b"WAVE"))),
    ]


def _find_chunks(encoded: tf.Tensor, length: tf.Tensor) -> tuple:
    """Where `fmt ` and `data` begin (-1 if nowhere), and the size of `data`."""

    def goes_on(position, form, data, size):
        return (data < 0) & (position + 8 <= length)

    def step(position, form, data, size):
        name = tf.strings.substr(encoded, position, 4)
        size = little_endian(_bytes(encoded, position + 4, 4))
        body = position + 8
        form = tf.where((form < 0) & (name == "fmt "), body, form)
        data = tf.where(name == "data", body, data)
        # Chunks begin at even places.
        after = tf.minimum(
            tf.cast(body, tf.int64) + size + size % 2, tf.cast(length, tf.int64)
        )
        return tf.cast(after, tf.int32), form, data, size

    none = tf.constant(-1)
    start = (tf.constant(12), none, none, tf.constant(0, tf.int64))
    _, form, data, size = tf.while_loop(
        goes_on, step, start, maximum_iterations=_MOST_CHUNKS
    )
    return form, data, size


def _bytes(encoded: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    """Some bytes as int32 `(count,)`, with zeros beyond the end."""
    length = tf.strings.length(encoded)
    start = tf.clip_by_value(start, 0, length)
    part = tf.strings.substr(encoded, start, tf.minimum(count, length - start))
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int32)


def _u16(fields: tf.Tensor, place: int) -> tf.Tensor:
    return tf.cast(little_endian(fields[place : place + 2]), tf.int32)


def _text(number: tf.Tensor) -> tf.Tensor:
    return tf.strings.as_string(number)
