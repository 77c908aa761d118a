"""Encoded sounds to waveforms, in graph: in `tf.data` and in exported models."""

import tensorflow as tf

from kmmft.data.wav_headers import CODINGS, FLOAT, WavHeader, read_wav_header

# A file of one sample: what stands in for a sound that is not there.
SILENT_WAV = (
    b"RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80>\x00\x00"
    b"\x00}\x00\x00\x02\x00\x10\x00data\x02\x00\x00\x00\x00\x00"
)


def decode_audio(
    encoded: tf.Tensor, sample_rate: int, num_samples: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes the beginning of one WAV file, mixes and resamples it.

    Reads PCM of 8, 16, 24 and 32 bit and floats of 32 and 64 bit. The mean of its
    channels is taken. Another rate is changed as an ideal low-pass filter does, see
    `resample_audio`. A shorter sound is filled up with zeros, a longer one cut; what
    is cut off is not decoded, so the length of the file costs nothing.

    Args:
        encoded: scalar string tensor, the bytes of the file.
        sample_rate: Samples a second of the waveform.
        num_samples: Samples of the waveform.

    Returns:
        float32 tensor `(num_samples,)`, in [-1, 1] for PCM, and a bool tensor of its
        shape, True marks samples of the sound.

    Raises:
        ValueError: If `sample_rate` or `num_samples` is not positive.
        tf.errors.InvalidArgumentError: When the bytes are no such WAV file, it is cut
            short, or a sample is not a number.

    Example:
        >>> wav = tf.audio.encode_wav(tf.fill((4, 2), 0.5), 8000)
        >>> waveform, mask = kmmft.data.decode_audio(wav, 8000, num_samples=6)
        >>> waveform.numpy().tolist(), mask.numpy().sum().item()
        ([0.5, 0.5, 0.5, 0.5, 0.0, 0.0], 4)
    """
    if sample_rate < 1 or num_samples < 1:
        raise ValueError(
            "`sample_rate` and `num_samples` must be positive. "
            f"Received: sample_rate={sample_rate}, num_samples={num_samples}."
        )
    header = read_wav_header(tf.convert_to_tensor(encoded, tf.string))
    good = tf.debugging.Assert(
        header.fault == "", [tf.strings.join(["The sound ", header.fault])]
    )
    # Eagerly there is nothing to wait for: the check has been made.
    with tf.control_dependencies([] if good is None else [good]):
        samples = _first_samples(encoded, header, sample_rate, num_samples)
    waveform = tf.cond(
        header.rate == sample_rate,
        lambda: samples,
        lambda: resample_audio(samples, header.rate, sample_rate),
    )[:num_samples]
    # Samples beyond the cut were read for the filter alone.
    length = _resampled_length(header.num_samples, header.rate, sample_rate)
    length = tf.cast(tf.minimum(length, num_samples), tf.int32)
    waveform = tf.pad(waveform, [[0, num_samples - tf.shape(waveform)[0]]])
    return tf.ensure_shape(waveform, [num_samples]), tf.range(num_samples) < length


def resample_audio(
    waveform: tf.Tensor, old_rate: tf.Tensor | int, new_rate: int
) -> tf.Tensor:
    """Changes the rate of a waveform, band-limited.

    The waveform is filled up with zeros to whole seconds, and its spectrum is cut or
    widened: what is above half of the lower rate is gone, all below is kept exactly.
    So any two rates go together, at the cost of two Fourier transforms.

    Args:
        waveform: float32 tensor `(old_length,)`.
        old_rate: Its samples a second, an int or scalar int tensor.
        new_rate: Samples a second to make.

    Returns:
        float32 tensor `(ceil(old_length * new_rate / old_rate),)`.

    Example:
        >>> kmmft.data.resample_audio(tf.zeros(100), 44100, 16000).shape
        TensorShape([37])

    References:
        - [Smith, 2007](https://ccrma.stanford.edu/~jos/mdft/), section 7.4.11
          (ideal band-limited interpolation).
    """
    old_rate = tf.cast(old_rate, tf.int32)
    length = tf.shape(waveform)[0]
    # The transform takes the end to be before the beginning: a pause parts them.
    seconds = (length + old_rate // 10) // old_rate + 1
    old, new = seconds * old_rate, seconds * new_rate
    spectrum = tf.signal.rfft(tf.pad(waveform, [[0, old - length]]), [old])
    kept = spectrum[: (tf.minimum(old, new) + 1) // 2]
    kept = tf.pad(kept, [[0, new // 2 + 1 - tf.shape(kept)[0]]])
    scale = tf.cast(new_rate, tf.float32) / tf.cast(old_rate, tf.float32)
    resampled = tf.signal.irfft(kept, [new]) * scale
    return resampled[: tf.cast(_resampled_length(length, old_rate, new_rate), tf.int32)]


def fit_length(waveform: tf.Tensor, num_samples: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts waveforms `(batch, samples)`, or fills them up with zeros.

    Returns:
        float32 tensor `(batch, num_samples)`, and a bool tensor of its shape, True
        marks samples that were there.
    """
    waveform = tf.cast(waveform, tf.float32)[:, :num_samples]
    rows, length = tf.unstack(tf.shape(waveform))
    waveform = tf.pad(waveform, [[0, 0], [0, num_samples - length]])
    mask = tf.tile((tf.range(num_samples) < length)[tf.newaxis], [rows, 1])
    return tf.ensure_shape(waveform, [None, num_samples]), mask


def _resampled_length(length, old_rate, new_rate) -> tf.Tensor:
    """Rounded up, int64: the product passes what 32 bits hold."""
    length, old_rate = tf.cast(length, tf.int64), tf.cast(old_rate, tf.int64)
    return (length * new_rate + old_rate - 1) // old_rate


def _first_samples(
    encoded: tf.Tensor, header: WavHeader, sample_rate: int, num_samples: int
) -> tf.Tensor:
    """Mono samples, as many as are needed for the waveform and a little more."""
    wanted = _resampled_length(num_samples, sample_rate, tf.cast(header.rate, tf.int64))
    wanted += tf.cast(header.rate // 20, tf.int64)
    wanted = tf.minimum(wanted, tf.cast(header.num_samples, tf.int64))
    bits = tf.gather([bits for _, bits in CODINGS], header.coding)
    size = tf.cast(wanted, tf.int32) * header.channels * (bits // 8)
    raw = tf.strings.substr(encoded, header.start, size)
    decoders = [lambda coding=coding: _decode(raw, *coding) for coding in CODINGS]
    samples = tf.switch_case(header.coding, decoders)
    finite = tf.debugging.Assert(
        tf.reduce_all(tf.math.is_finite(samples)),
        ["The sound has samples that are no numbers: leave it out."],
    )
    with tf.control_dependencies([] if finite is None else [finite]):
        samples = tf.reshape(samples, [-1, header.channels])
    return tf.reduce_mean(samples, axis=1)


def _decode(raw: tf.Tensor, coding: int, bits: int) -> tf.Tensor:
    if coding == FLOAT:
        dtype = tf.float32 if bits == 32 else tf.float64
        return tf.cast(tf.io.decode_raw(raw, dtype), tf.float32)
    if bits == 8:
        return tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.float32) / 128 - 1
    if bits == 24:
        parts = tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, 3])
        # The upper bytes of an int32, whose sign they then have.
        numbers = tf.bitcast(tf.pad(parts, [[0, 0], [1, 0]]), tf.int32)
        return tf.cast(numbers, tf.float32) / 2**31
    dtype = {16: tf.int16, 32: tf.int32}[bits]
    return tf.cast(tf.io.decode_raw(raw, dtype), tf.float32) / 2.0 ** (bits - 1)
