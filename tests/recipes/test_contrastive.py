import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from recipes import contrastive, search, zero_shot
from recipes.pairs.records import open_pairs
from tests.recipes.conftest import seeing_encoders

SMOKE = contrastive.PRESETS["smoke"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As the smoke preset, which has to wait for the graphs of larger encoders."""
    folder = tmp_path_factory.mktemp("contrastive")
    config = dataclasses.replace(
        SMOKE,
        image_size=32,
        smallest_crop=1.0,
        epochs=6,
        batch_size=8,
        output_dir=str(folder),
    )
    with seeing_encoders():
        return config, contrastive.main(config), folder


@pytest.fixture(scope="module")
def model(run):
    return kmmft.models.load_dual_encoder(run[2])


def check_run(config, metrics):
    folder = pathlib.Path(config.output_dir)
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    # 48 pictures with 6 captions, of 8 pictures each: the best to be had is one of 8,
    # and all within the first 10. Chance is one of 48.
    for direction in ("image_to_text", "text_to_image"):
        assert metrics[f"test/{direction}/recall_at_1"] == pytest.approx(
            1 / 8, abs=0.05
        )
        assert metrics[f"test/{direction}/recall_at_10"] > 0.8
    assert metrics["train/seconds"] > 0 and metrics["peak_memory_mb"] > 100
    history = (folder / "history.csv").read_text().splitlines()
    assert "val_mean_recall" in history[0] and len(history) == 1 + config.epochs


def test_training_finds_the_captions(run):
    config, metrics, _ = run
    check_run(config, metrics)


@pytest.mark.slow
def test_smoke_preset_finds_the_captions(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path))
    check_run(config, contrastive.main(config))


def test_report_shows_what_is_found(run):
    *_, folder = run
    page = (folder / "report.html").read_text()
    assert "By words" in page and "By picture" in page
    assert page.count("<figure><img") == 10 * 5
    assert page.count('class="seen"') == 10
    assert "a blue disc" in page and "data:image/png;base64" in page


def test_served_vectors_are_those_of_the_model(run, model):
    *_, folder = run
    served = tf.saved_model.load(str(folder / "export/1")).signatures
    words = ["a red square", "a blue disc"]
    np.testing.assert_allclose(
        served["encode_text"](text=tf.constant(words))["embedding"],
        model.encode_text(words),
        atol=1e-5,
    )
    (record,) = kmmft.data.first_records(folder / "data/pairs/1.0.0", "test", 1)
    np.testing.assert_allclose(
        served["encode_image"](image=tf.constant([record["image"]]))["embedding"],
        model.encode_image([record["image"]]),
        atol=1e-5,
    )


def test_zero_shot_classifies_by_the_captions(run, tmp_path):
    config = dataclasses.replace(
        zero_shot.PRESETS["smoke"], model=str(run[2]), output_dir=str(tmp_path)
    )
    metrics = zero_shot.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["test/accuracy"] > 0.8  # Chance is 1 of 6.
    assert "a red square" in (tmp_path / "report.html").read_text()


def test_search_finds_by_words_and_by_picture(run, tmp_path):
    config = dataclasses.replace(
        search.PRESETS["smoke"], model=str(run[2]), output_dir=str(tmp_path), k=5
    )
    red, blue = search.main(config)
    assert all("-red-square-" in hit.id for hit in red.hits)
    assert all("-blue-disc-" in hit.id for hit in blue.hits)
    assert "a red square" in (tmp_path / "search.html").read_text()
    picture = tmp_path / "pictures" / red.hits[0].id
    asked = dataclasses.replace(
        config, words="", picture=str(picture), reuse_index=True
    )
    (found,) = search.main(asked)
    assert found.hits[0].id == picture.name
    assert found.hits[0].score == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("loss", sorted(contrastive.LOSSES))
def test_every_loss_trains_a_model(loss, tiny_encoders):
    model = contrastive.build_model(
        dataclasses.replace(SMOKE, loss=loss, image_size=32)
    )
    model.compile("sgd", contrastive.LOSSES[loss](SMOKE), run_eagerly=True)
    inputs = {
        "image": np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)),
        **model.encoders["text"].preprocess(["a", "b", "c", "d"]),
    }
    before = model.projections["image"].get_weights()[0].copy()
    assert np.isfinite(model.train_on_batch(inputs, np.arange(4))).all()
    assert np.abs(model.projections["image"].get_weights()[0] - before).max() > 0


@pytest.mark.slow
def test_class_names_as_captions(tiny_encoders, tmp_path):
    config = dataclasses.replace(
        SMOKE,
        flyp=True,
        template="a {}",
        train_image_encoder=True,
        train_text_encoder=True,
        image_size=32,
        epochs=15,
        output_dir=str(tmp_path),
    )
    metrics = contrastive.main(config)
    assert metrics["test/accuracy"] > 1.5 / 6  # Chance is 1 of 6.
    assert (tmp_path / "export/1").exists()
    source = open_pairs(config, class_names=True)
    caption = contrastive.caption_function(config, source)
    names = source.features["label"].names
    assert caption({"label": 1}, None).numpy().decode() == f"a {names[1]}"


def test_heads_begin_as_ridge_regression(run, encoders_that_see):
    config = dataclasses.replace(
        run[0], projection_dim=0, ridge_start=True, ridge_baseline=True
    )
    source = open_pairs(run[0])
    model = contrastive.build_model(config)
    metrics = contrastive.ridge(config, source, model)
    evaluator = contrastive.make_evaluator(config, source, "test")
    started = evaluator.evaluate(model)
    assert started["mean_recall"] > 0.5 * metrics["ridge/mean_recall"] > 0
    kernel = model.projections["text"].output_projection.kernel
    np.testing.assert_array_equal(kernel, np.eye(kernel.shape[0]))


def test_frozen_encoders_see_the_records(run, encoders_that_see):
    source = open_pairs(run[0])
    encoders = contrastive.build_model(run[0]).encoders
    seen = kmmft.evaluation.PairedVectors.encode(encoders, source, "test")
    assert (len(seen.images), len(seen.texts)) == (48, 48)
    np.testing.assert_array_equal(seen.image_of_text, np.arange(48))
    (record,) = kmmft.data.first_records(source, "test", 1)
    image = encoders["image"].preprocess(tf.constant([record["image"]]))
    text = encoders["text"].preprocess(tf.constant(record["captions"]))
    for found, expected in (
        (seen.images, encoders["image"](image)["pooled"]),
        (seen.texts, encoders["text"](text)["pooled"]),
    ):
        np.testing.assert_allclose(found[:1], expected, atol=1e-4)


def test_ridge_regression_is_in_the_table():
    metrics = {f"{key}/image_to_text/recall_at_1": 0.5 for key in ("ridge", "test")}
    names = [row[0] for row in contrastive.result_table(metrics).rows]
    assert names == ["ridge regression, frozen encoders", "this model"]
    del metrics["ridge/image_to_text/recall_at_1"]
    table = contrastive.result_table(metrics)
    assert (list(table.rows), table.highlight) == ([["this model", 0.5]], 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest": ""}, "Either `--manifest` or `--data`"),
        ({"data": "somewhere"}, "Either `--manifest` or `--data`"),
        ({"caption_column": "capshun"}, "capshun"),
        ({"batch_size": 4096}, "batch_size=4096"),
    ],
)
def test_bad_settings_end_in_one_line(changes, message, tmp_path):
    changes = {"output_dir": str(tmp_path), **changes}
    with pytest.raises(ValueError, match=message):
        contrastive.main(dataclasses.replace(SMOKE, **changes))


def test_settings_are_checked_before_the_run():
    with pytest.raises(ValueError, match=r"`--loss` must be one of info_nce.*'nce'"):
        dataclasses.replace(SMOKE, loss="nce")
    with pytest.raises(ValueError, match="`--template` needs"):
        dataclasses.replace(SMOKE, flyp=True, template="photo")
    with pytest.raises(ValueError, match="Either `--manifest` or `--data`"):
        zero_shot.open_data(zero_shot.Config())
    with pytest.raises(ValueError, match="Either `--words` or `--picture`"):
        search.main(search.Config())
    with pytest.raises(ValueError, match="`--k` must be"):
        search.Config(k=0)


def test_missing_model_and_pictures_are_named(model, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"nowhere.*recipes\.contrastive"):
        search.main(search.Config(model=nowhere, words="a", output_dir=str(tmp_path)))
    (tmp_path / "run.log").touch()
    with pytest.raises(ValueError, match=r"without model\.keras"):
        kmmft.models.load_dual_encoder(tmp_path)
    with pytest.raises(ValueError, match="must be a directory of pictures"):
        search.build_index(model, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="must hold pictures"):
        search.build_index(model, tmp_path)


def test_open_clip_art_needs_its_packages(tmp_path, monkeypatch):
    def missing(**arguments):
        return original(source_dir=str(tmp_path / "none"), **arguments)

    original = tfrecords_tools.build_open_clip_art
    monkeypatch.setattr(tfrecords_tools, "build_open_clip_art", missing, raising=False)
    config = dataclasses.replace(
        contrastive.PRESETS["open_clip_art"], output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match="apt-get install openclipart-png"):
        contrastive.main(config)


def test_variants_are_measured_by_retrieval(run, model, monkeypatch):
    config, metrics, folder = run
    asked = {}

    def embed(raw):
        """As an export answers, in which the texts mean nothing."""
        asked.update({name: len(values) for name, values in raw.items()})
        vectors = {m: model.encode(m, list(raw[m])) for m in ("image", "text")}
        return {f"{m}_embedding": value for m, value in vectors.items()}

    def measured(model, path, examples, evaluate, baseline):
        asked.update(path=path, baseline=baseline, examples=len(examples["text"]))
        row = kmmft.export.Variant("float32", str(baseline), 100.0, {1: 9.0, 8: 30.0})
        row = dataclasses.replace(row, score=evaluate(embed), drop=0.0)
        return [kmmft.export.Variant("float16", refused="too bad"), row]

    monkeypatch.setattr(kmmft.export, "export_variants", measured)
    source = kmmft.data.open_source(folder / "data/pairs/1.0.0")
    directory = kmmft.training.RunDirectory(folder, config)
    directory.close()
    table = contrastive.variants_table(config, model, source, directory)
    assert table.highlight == 1 and "Chosen" in table.note
    assert table.header[5:] == [
        *(f"image → text R@{k}" for k in (1, 5)),
        *(f"text → image R@{k}" for k in (1, 5)),
        "mean recall",
        "refused",
    ]
    recalls = [
        metrics[f"test/{one}/recall_at_{k}"]
        for one in ("image_to_text", "text_to_image")
        for k in (1, 5)
    ]
    expected = pytest.approx([*recalls, metrics["test/mean_recall"]], abs=1e-6)
    assert table.rows[1][5:-1] == expected
    assert table.rows[0] == ["float16", *[None] * 9, "too bad"]
    assert asked["image"] == asked["text"] == 48 and asked["examples"] > 8
    assert asked["path"] == folder / "variants"
    assert asked["baseline"] == folder / "export/1"


def test_search_among_vectors_in_few_bits():
    random = np.random.default_rng(0)
    vectors = np.linalg.qr(random.normal(size=(32, 32)))[0].astype("f4")
    encoded = kmmft.evaluation.RecordVectors(
        {"image": vectors, "text": vectors[[3, 3, 7]]},
        {"image": np.arange(32), "text": np.array([3, 3, 8])},
        {},
        {},
    )
    table = contrastive.index_table(encoded)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.header == ["kept of an image", "bytes", "R@1", "R@5", "R@10"]
    # Two of three captions are at the place of their own image.
    assert rows["float32"][:2] == [128.0, 2 / 3]
    assert rows["int8"][:2] == [36.0, 2 / 3]
    assert rows["binary, 4 times rescored"][:2] == [4.0, 2 / 3]
    assert rows["first 8 of 32 numbers"][0] == 32.0


def test_variants_need_captions():
    with pytest.raises(ValueError, match="Received: `--flyp` and `--variants`"):
        dataclasses.replace(SMOKE, flyp=True, variants=True)
