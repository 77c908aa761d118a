"""Small sounds of one moving tone: sounds to try things out on."""

import csv
import itertools
import os
import pathlib
import wave

import numpy as np

RATE = 16000
REPEATS = {"train": 24, "validation": 2, "test": 4}
MOTIONS = ("rising", "falling", "steady", "pulsing")
# Hz of the middle, an octave and a half apart.
PITCHES = {"low": 400.0, "high": 1600.0}
TIMBRES = ("pure", "buzzing")


def write_tones(
    folder: str | os.PathLike, train_repeats: int = REPEATS["train"]
) -> str:
    """Makes sounds such as "a rising high buzzing tone", and lists them in a CSV file.

    Each is 0.6 to 1 second long, at a pitch, loudness and level of noise of its own. A
    rising tone and a falling one have the same pitches in another order, so that only
    who knows of time can tell them apart.

    Args:
        folder: Where the sounds (WAV) and `tones.csv` go; made if it is not there.
        train_repeats: Training sounds of each caption.

    Returns:
        The path of the CSV file, with columns `id`, `split`, `audio`, `label` (the
        motion) and `caption`.

    Raises:
        ValueError: If `train_repeats` is not positive.

    Example:
        >>> path = kmmft.data.write_tones("tones", train_repeats=1)
        >>> with open(path) as file:
        ...     file.readline().strip()
        'id,split,audio,label,caption'
    """
    if train_repeats < 1:
        raise ValueError(
            f"`train_repeats` must be positive. Received: {train_repeats}."
        )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, repeats in {**REPEATS, "train": train_repeats}.items():
        every = itertools.product(range(repeats), MOTIONS, PITCHES, TIMBRES)
        for repeat, motion, pitch, timbre in every:
            name = f"{split}-{repeat}-{motion}-{pitch}-{timbre}"
            _write(folder / f"{name}.wav", _tone(motion, pitch, timbre, len(rows)))
            rows.append(
                {
                    "id": name,
                    "split": split,
                    "audio": f"{name}.wav",
                    "label": motion,
                    "caption": f"a {motion} {pitch} {timbre} tone",
                }
            )
    path = folder / "tones.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _tone(motion: str, pitch: str, timbre: str, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, int(random.uniform(0.6, 1) * RATE))
    octaves = {"rising": time - 0.5, "falling": 0.5 - time}.get(motion, 0 * time)
    frequency = PITCHES[pitch] * 2 ** (random.uniform(-0.2, 0.2) + octaves)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    harmonics = 1 if timbre == "pure" else 6
    tone = sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))
    if motion == "pulsing":
        tone = tone * (np.sin(2 * np.pi * random.uniform(5, 7) * time) > 0)
    noise = random.normal(size=time.size) * random.uniform(0.001, 0.03)
    fade = np.minimum(1, 20 * np.minimum(time, 1 - time))
    return (random.uniform(0.1, 0.4) * tone + noise) * fade


def _write(path: pathlib.Path, waveform: np.ndarray) -> None:
    samples = np.round(np.clip(waveform, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
