"""Reads the encoded bytes of a sound, and says what is wrong with a bad one."""

import functools
import importlib.util
import io
import pathlib
import struct
from collections.abc import Callable
from typing import Any

from tfrecords_tools.build_options import BuildOptions

_MIN_RATE, _MAX_RATE = 1_000, 768_000
_MAX_CHANNELS = 64
_BLOCK = 1 << 16
# What libsndfile says of a file that does not tell its length.
_UNKNOWN_LENGTH = 1 << 60
# Codings of WAV that kmmft decodes, by libsndfile's names.
_PLAIN = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
# What sound files often turn out to be, with what to tell of it.
_FOREIGN = {
    b"ID3": "an MP3",
    b"\xff\xfb": "an MP3",
    b"FORM": "an AIFF",
    b"<htm": "an HTML page",
    b"<!do": "an HTML page",
    b"vers": "a Git LFS pointer",
}


def read_audio(
    path: pathlib.Path | Any,
    max_seconds: float = 3600.0,
    decode: bool = True,
    to_wav: bool = False,
) -> dict[str, Any]:
    """Reads a WAV, FLAC or Ogg file (Vorbis or Opus) and checks that it is whole.

    Args:
        path: The file.
        max_seconds: Longer sounds are refused.
        decode: Decode it whole; otherwise look at its header and its end only.
        to_wav: Make a WAV file of 16 bit of what is not WAV, or of a rare coding.

    Returns:
        `audio` (the bytes of the file, as they are or as WAV), `sample_rate` (Hz) and
        `num_samples` (of each channel).

    Raises:
        ValueError: If there is no such file, it is no readable sound or one of no or
            too great length, or soundfile is not installed.

    Example:
        >>> import soundfile
        >>> soundfile.write("a.wav", [0.0, 0.5, 0.0], 16000)
        >>> read_audio(pathlib.Path("a.wav"))["num_samples"]
        3
    """
    encoded = _bytes_of(path)
    sample_rate, num_samples = check_audio(encoded, str(path), max_seconds, decode)
    if to_wav:
        encoded = as_wav(encoded)
    return {"audio": encoded, "sample_rate": sample_rate, "num_samples": num_samples}


def check_audio(
    encoded: bytes, name: str, max_seconds: float = 3600.0, decode: bool = True
) -> tuple[int, int]:
    """Checks that a sound is whole.

    Args:
        encoded: Bytes of a WAV, FLAC or Ogg file.
        name: What errors call it.
        max_seconds: Longer sounds are refused.
        decode: Decode it whole; otherwise look at its header and its end only.

    Returns:
        Samples a second, and samples of each channel.

    Raises:
        ValueError: If it is no readable sound or one of no or too great length, or
            soundfile is not installed.
    """
    check_soundfile()
    problem = _problem_in_frame(encoded)
    if problem:
        raise ValueError(f"The sound {name!r} {problem}.")
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as sound:
            problem = _problem_in_header(sound, max_seconds)
            sample_rate, num_samples = sound.samplerate, sound.frames
            if not problem and (decode or num_samples >= _UNKNOWN_LENGTH):
                num_samples, problem = _decode(sound, max_seconds)
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise ValueError(
            f"The sound {name!r} cannot be decoded ({reason.strip().rstrip('.')}); it "
            "may be cut short: fetch it again."
        ) from error
    if problem:
        raise ValueError(f"The sound {name!r} {problem}.")
    return sample_rate, num_samples


def as_wav(encoded: bytes) -> bytes:
    """A sound that `check_audio` found whole, as plain WAV.

    Args:
        encoded: Bytes of a WAV, FLAC or Ogg file.

    Returns:
        The same bytes, if they are WAV of PCM or floats; else WAV of 16 bit.
    """
    import soundfile

    with soundfile.SoundFile(io.BytesIO(encoded)) as sound:
        if encoded[:4] == b"RIFF" and sound.subtype in _PLAIN:
            return encoded
        stream = io.BytesIO()
        # Vorbis may overshoot; libsndfile clips what it writes as PCM.
        samples = sound.read(dtype="float32")
        soundfile.write(stream, samples, sound.samplerate, "PCM_16", format="WAV")
    return stream.getvalue()


def audio_extension(encoded: bytes) -> str:
    """How the name of a file with this sound ends.

    Example:
        >>> audio_extension(b"fLaC")
        'flac'
    """
    kinds = {b"RIFF": "wav", b"RF64": "wav", b"fLaC": "flac", b"OggS": "ogg"}
    return kinds.get(encoded[:4], "bin")


def audio_reader(
    max_seconds: float, options: BuildOptions
) -> Callable[[pathlib.Path | Any], dict[str, Any]]:
    """The function with which `write_records` reads sounds.

    Args:
        max_seconds: Longer sounds are refused.
        options: With `check_images`, sounds are decoded; with `audio_to_wav`, they
            become WAV.

    Raises:
        ValueError: If `max_seconds` is not positive, or soundfile is not installed.
    """
    if not max_seconds > 0:
        raise ValueError(
            f"max_seconds must be more than 0. Received: max_seconds={max_seconds}."
        )
    check_soundfile()
    return functools.partial(
        read_audio,
        max_seconds=max_seconds,
        decode=options.check_images,
        to_wav=options.audio_to_wav,
    )


def check_soundfile() -> None:
    """Raises ValueError if soundfile is not installed."""
    if importlib.util.find_spec("soundfile") is None:
        raise ValueError(
            "Sounds are read by soundfile, which is not installed. Install it by: "
            "pip install 'kmmft[audio]'"
        )


def _bytes_of(path: pathlib.Path | Any) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"The sound {str(path)!r} does not exist; mend the path."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path.
        raise ValueError(
            f"The sound {str(path)!r} cannot be read ({error}); mend the path or the "
            "permissions."
        ) from error


def _problem_in_frame(encoded: bytes) -> str | None:
    """What the decoder would not notice: another kind of file, or an end cut off."""
    if not encoded:
        return "has no bytes; fetch the file again"
    cut = "is cut short; fetch the file again"
    if encoded[:4] in (b"RIFF", b"RF64") and encoded[8:12] == b"WAVE":
        return cut if _wav_is_cut(encoded) else None
    if encoded[:4] == b"OggS":
        return cut if _ogg_is_cut(encoded) else None
    if encoded[:4] == b"fLaC":
        return None
    kinds = (kind for head, kind in _FOREIGN.items() if encoded.startswith(head))
    kind = next(kinds, None)
    found = f"is {kind}" if kind else f"begins with {encoded[:8]!r}"
    return f"{found}, not WAV, FLAC or Ogg; convert it or fetch it again"


def _wav_is_cut(encoded: bytes) -> bool:
    """Whether the samples end before the header says so."""
    if encoded[:4] == b"RF64":
        return False  # Its sizes stand elsewhere; the decoder reads them.
    position = 12
    while position + 8 <= len(encoded):
        name, size = struct.unpack_from("<4sI", encoded, position)
        position += 8
        if name == b"data":
            # The greatest number stands for a length that was not known.
            return size != 0xFFFFFFFF and position + size > len(encoded)
        position += size + size % 2
    return True


def _ogg_is_cut(encoded: bytes) -> bool:
    """Whether the last page, which is marked, is not there or not whole."""
    position, marked = 0, False
    while encoded[position : position + 4] == b"OggS":
        head = encoded[position : position + 27]
        if len(head) < 27:
            return True
        sizes = encoded[position + 27 : position + 27 + head[26]]
        position += 27 + head[26] + sum(sizes)
        marked = bool(head[5] & 4)
        if len(sizes) < head[26] or position > len(encoded):
            return True
    return not marked


def _problem_in_header(sound: Any, max_seconds: float) -> str | None:
    rate = sound.samplerate
    if not _MIN_RATE <= rate <= _MAX_RATE:
        return (
            f"has {rate:,} samples a second, where {_MIN_RATE:,} to {_MAX_RATE:,} may "
            "be; mend its header"
        )
    if not 1 <= sound.channels <= _MAX_CHANNELS:
        return f"has {sound.channels} channels, of {_MAX_CHANNELS} that may be; mix it"
    if sound.frames == 0:
        return "has no samples; leave it out"
    if sound.frames < _UNKNOWN_LENGTH and sound.frames > max_seconds * rate:
        return _too_long(f"{sound.frames / rate:,.1f} seconds", max_seconds)
    return None


def _decode(sound: Any, max_seconds: float) -> tuple[int, str | None]:
    """The number of samples that are really there, and what is wrong with them."""
    import numpy as np

    found = 0
    for block in sound.blocks(_BLOCK, dtype="float32"):
        found += len(block)
        if found > max_seconds * sound.samplerate:
            return found, _too_long("no end before", max_seconds)
        if not np.isfinite(block).all():
            return found, "has samples that are no numbers; leave it out"
    if sound.frames < _UNKNOWN_LENGTH and found != sound.frames:
        return found, (
            f"has {found:,} samples, where its header says {sound.frames:,}; fetch "
            "it again"
        )
    return found, None if found else "has no samples; leave it out"


def _too_long(found: str, max_seconds: float) -> str:
    return (
        f"has {found}, of {max_seconds:,g} seconds that may be; cut it, or raise "
        "max_seconds (--max_seconds)"
    )
