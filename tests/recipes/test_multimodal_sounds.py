import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes import multimodal_classification as recipe
from recipes.multimodal.illustrated_sounds import write_illustrated_sounds

pytest.importorskip("soundfile")
SOUNDS = recipe.PRESETS["sounds"]


@pytest.fixture
def few_tones(monkeypatch):
    write = kmmft.data.write_tones
    monkeypatch.setattr(kmmft.data, "write_tones", lambda folder: write(folder, 1))


@pytest.mark.slow
def test_all_subsets_are_tested_and_served(tmp_path, tiny_encoders, few_tones):
    config = dataclasses.replace(
        SOUNDS, output_dir=str(tmp_path), image_size=16, epochs=1, batch_size=8
    )
    metrics = recipe.main(config)
    subsets = {
        name.removeprefix("given/").removesuffix("/accuracy")
        for name in metrics
        if name.startswith("given/") and name.endswith("/accuracy")
    }
    assert subsets == {
        *("image+text+audio", "image+text", "image+audio", "text+audio"),
        *("image", "text", "audio"),
    }
    assert metrics["given/image+text+audio/accuracy"] == metrics["test/accuracy"]
    served = tf.saved_model.load(tmp_path / "export/1").signatures["classify"]
    answer = served(
        image=tf.constant([b"", b""]),
        text=tf.constant(["it sounds steady", ""]),
        audio=tf.constant([b"", b"no sound"]),
    )
    errors = answer["error"].numpy()
    assert errors[0] == b"" and b"audio is not a WAV file" in errors[1]


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_and_texts_agree_as_often_as_told(tmp_path):
    names = ("low", "high", "mute")
    rows = [f"{number}.wav,{names[number % 3]},{number // 2}" for number in range(600)]
    sounds = tmp_path / "sounds.csv"
    sounds.write_text("\n".join(["audio,label,group", *rows]))
    made = read(write_illustrated_sounds(str(sounds), tmp_path / "made"))
    told = np.mean([row["text"] == f"it sounds {row['label']}" for row in made])
    assert told == pytest.approx(0.7, abs=0.06)
    hues = []
    for row in made[:60]:
        pixels = tf.io.decode_png(tf.io.read_file(row["image"])).numpy() / 255.0
        # The disc is what is coloured: of hue 0, 1/3 or 2/3.
        hue, saturation, _ = tf.image.rgb_to_hsv(pixels).numpy().transpose(2, 0, 1)
        shown = round(3 * float(hue[saturation > 0.5].mean())) % 3
        hues.append(sorted(names)[shown] == row["label"])
    assert np.mean(hues) == pytest.approx(0.8, abs=0.15)
    splits = [row["split"] for row in made]
    assert splits[::2] == splits[1::2]
    assert 0.7 < splits.count("train") / 600 < 0.9
    assert made[0]["audio"] == str(tmp_path / "0.wav")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be a file"),
        ("file,label\na.wav,x\n", "no column 'audio'"),
        ("audio,label\na.wav,x\nb.wav\n", "line 3: The row has 1 fields"),
        ("audio,label\na.wav,x\nb.wav,\n", "line 3: The column 'label' is empty"),
        ("audio,label\na.wav,x\nb.wav,x\n", r"two classes.*\['x'\] alone"),
    ],
)
def test_bad_sounds_are_errors(text, message, tmp_path):
    path = tmp_path / "sounds.csv"
    if text:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        write_illustrated_sounds(str(path), tmp_path / "made")


def test_sounds_go_with_their_preset():
    with pytest.raises(ValueError, match="`--sounds` goes with `--csv sounds`"):
        dataclasses.replace(SOUNDS, csv="shapes", sounds="mine.csv")


def test_three_encoders_of_three_features(tmp_path, tiny_encoders, few_tones):
    config = dataclasses.replace(SOUNDS, output_dir=str(tmp_path), batch_size=4)
    source = recipe.open_data(config)
    # Rate and length of a sound are no columns of a table.
    assert recipe.table_columns(source) == ([], [])
    encoders = recipe.build_encoders(config, source)
    assert list(encoders) == ["image", "text", "audio"]
    model = recipe.build_model(config, source.features["label"].names, encoders)
    inputs, label = next(iter(recipe.build_data(config, source, "train", model, 0)))
    assert set(inputs) == set(model.input) and label.shape == (4,)
    assert model(inputs).shape == (4, 4)
