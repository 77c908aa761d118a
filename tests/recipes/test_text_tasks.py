import dataclasses
import json
import pathlib
import re
import types

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.data import template_texts
from recipes import text_tasks
from recipes.texts import classifying, writing

SMOKE = text_tasks.PRESETS["smoke"]


def template_words():
    """All words of the made-up texts, as a vocabulary of word pieces."""
    names = [*template_texts.FIRST_NAMES, *template_texts.LAST_NAMES]
    names += [*template_texts.COMPANIES, *template_texts.CITIES]
    patterns = " ".join(
        part for relation in template_texts.RELATIONS.values() for part in relation
    ).replace("?", " ?")
    words = [word for word in patterns.split() if "{" not in word]
    signs = ["<", ">", "/", "e1", "e2"]
    return sorted({word.lower() for word in [*names, *words, *signs]})


@pytest.fixture
def tiny_text_encoder(monkeypatch):
    """Stands in for the pretrained encoder, and learns in seconds."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *template_words()]

    def from_preset(cls, handle, sequence_length, **kwargs):
        return cls(
            keras_hub.models.BertBackbone(len(words), 1, 2, 32, 32, dropout=0.0),
            keras_hub.models.BertTokenizer(words, lowercase=True),
            sequence_length,
            pooling="mean",
            **kwargs,
        )

    monkeypatch.setattr(
        kmmft.encoders.TextEncoder, "from_preset", classmethod(from_preset)
    )


@pytest.fixture
def plain_export(monkeypatch):
    """Without the files beside a served model, which other recipes' tests look at."""

    def export(model, path, examples, card, version):
        kmmft.export.export_model(model, path, examples, version=version)

    monkeypatch.setattr(kmmft.export, "export_bundle", export)


def run(folder, **changes):
    """Runs a task by a text encoder that is trained from scratch."""
    options = {"train_text_encoder": True, "output_dir": str(folder)}
    metrics = text_tasks.main(dataclasses.replace(SMOKE, **options, **changes))
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    return metrics


def served(folder):
    return tf.saved_model.load(folder / "export/1").signatures["serving_default"]


@pytest.mark.usefixtures("tiny_text_encoder")
def test_relations_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(kmmft.export, "export_bundle", lambda *args, **kwargs: None)
    metrics = run(tmp_path, task="relate")
    assert metrics["test/accuracy"] > 0.95 > 0.5 > metrics["most_frequent/accuracy"]
    text = "<e1> Anna Rossi </e1> lives in <e2> Oslo </e2>."
    model = kmmft.models.load_fusion_classifier(tmp_path)
    assert model.classify({"text": [text]})["label"] == [b"lives_in"]
    assert "most frequent class" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_text_encoder", "plain_export")
def test_entities_are_found(tmp_path):
    metrics = run(tmp_path, task="tag", epochs=2)
    assert metrics["test/entity_f1"] > 0.95 > metrics["usual_tag/accuracy"]
    answers = served(tmp_path)(text=tf.constant(["Anna Rossi founded Acme."]))
    assert answers["words"].numpy().tolist() == [
        [b"Anna", b"Rossi", b"founded", b"Acme", b"."]
    ]
    assert answers["tags"].numpy().tolist() == [
        [b"B-PER", b"I-PER", b"O", b"B-ORG", b"O"]
    ]
    assert "Anna/B-PER" in (tmp_path / "report.html").read_text()


def write_questions(path, count, random):
    """Who is it, and where? Each third question has no answer."""
    entries = []
    for number in range(count):
        name = random.choice(template_texts.LAST_NAMES)
        city = random.choice(template_texts.CITIES)
        before, after = random.integers(0, 12, 2)
        context = f"{'in ' * before}{name} lives in {city}.{' is' * after}"
        asked, answer = (("Who?", name), ("Where?", city), ("Of?", ""))[number % 3]
        answers = [{"text": answer, "answer_start": context.index(answer)}] * 2
        entry = {"id": f"{path.stem}-{number}", "question": asked}
        entry |= {"answers": answers, "is_impossible": False}
        if not answer:
            entry |= {"answers": [], "is_impossible": True}
        entries.append({"context": context, "qas": [entry]})
    path.write_text(json.dumps({"data": [{"title": "", "paragraphs": entries}]}))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_text_encoder", "plain_export")
def test_questions_are_answered(tmp_path):
    random = np.random.default_rng(0)
    for split, count in {"train": 64, "dev": 24}.items():
        write_questions(tmp_path / f"{split}.json", count, random)
    metrics = run(
        tmp_path / "run",
        task="answer",
        files=f"train={tmp_path / 'train.json'}, dev={tmp_path / 'dev.json'}",
        # Shorter than most of the contexts.
        sequence_length=20,
        max_question_tokens=3,
        window_overlap=6,
        epochs=2,
    )
    assert metrics["test/questions/no_answer"] == 8
    model = keras.saving.load_model(tmp_path / "run/model.keras")
    assert 0 < model.no_answer_threshold == metrics["no_answer_threshold"] < 1
    entries = json.loads((tmp_path / "dev.json").read_text())["data"][0]["paragraphs"]
    asked = {
        "question": [entry["qas"][0]["question"] for entry in entries],
        "context": [entry["context"] for entry in entries],
    }
    answers = served(tmp_path / "run")(**{k: tf.constant(v) for k, v in asked.items()})
    texts = [text.decode() for text in answers["text"].numpy()]
    people = [[x["text"] for x in entry["qas"][0]["answers"]] for entry in entries]
    assert kmmft.metrics.squad_metrics(texts, people)["f1"] == metrics["test/f1"]
    assert "" in texts and len(set(texts)) > 2
    assert "the whole context" in (tmp_path / "run/report.html").read_text()


@pytest.mark.usefixtures("tiny_text_encoder")
def test_numbers_of_pairs(tmp_path, monkeypatch):
    table = tmp_path / "pairs.csv"
    rows = [f"{'anna ' * (n % 4)}paris,{'oslo ' * (n % 3)}lima" for n in range(60)]
    splits = ["test", "validation", *["train"] * 4] * 10
    lines = [f"{row},{n % 4 - n % 3},{splits[n]}" for n, row in enumerate(rows)]
    table.write_text("\n".join(["a,b,likes,part", *lines]))
    asked = {}
    monkeypatch.setattr(
        kmmft.export, "export_bundle", lambda *args, **kwargs: asked.update(args[2])
    )
    metrics = run(
        tmp_path / "run",
        task="regress",
        files=str(table),
        text_column="a",
        text_pair_column="b",
        label_column="likes",
        split_column="part",
    )
    assert metrics["test/mae"] < metrics["mean/mae"]
    assert np.shape(asked["text"]) == (3, 2)
    model = keras.saving.load_model(tmp_path / "run/model.keras")
    values = model.classify({"text": [["anna anna anna paris", "lima"]]})["values"]
    assert values.shape == (1, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_export")
def test_texts_are_written(tmp_path):
    config = dataclasses.replace(
        text_tasks.PRESETS["smoke_write"], output_dir=str(tmp_path)
    )
    metrics = text_tasks.main(config)
    assert metrics["test/bleu"] > 0.9 > metrics["nearest/bleu"] > metrics["copy/bleu"]
    assert "lead_3/bleu" not in metrics
    records = kmmft.data.first_records(
        kmmft.data.open_source(tmp_path / "data/texts/1.0.0"), "test", 99
    )
    texts = [record["text"] for record in records]
    written = served(tmp_path)(text=tf.constant(texts))["text"].numpy().tolist()
    right = [text in one["targets"] for text, one in zip(written, records, strict=True)]
    assert np.mean(right) == metrics["test/exact_match"]
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert [text.encode() for text in model.generate({"text": texts})] == written
    assert "what belongs to the nearest text" in (tmp_path / "report.html").read_text()


def write_config(folder, rows, **changes):
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {"files": str(folder / "pairs.jsonl"), "output_dir": str(folder)}
    return dataclasses.replace(
        text_tasks.PRESETS["smoke_write"], **options, split_column="split", **changes
    )


TRAIN = {"text": ["Hi!", "How are you?"], "target": "Fine.", "split": "train"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "split": "train"}, "There is no column 'target'"),
        ({"text": "a", "target": " ", "split": "test"}, "column 'target' is empty"),
        (
            {"text": "Hi! | How are you?", "target": "Well.", "split": "test"},
            "The text 'Hi! | How are you?' is in split 'test' here and in 'train'",
        ),
    ],
)
def test_bad_pairs(row, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        writing.open_data(write_config(tmp_path, [TRAIN, row]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "tag"}, "`--text_encoder scratch` goes with `--task write`.*tag"),
        ({"train_text_encoder": False}, "from scratch must be trained"),
        ({"num_layers": 0}, "`--num_layers` must be at least 1"),
        ({"num_beams": 0}, "`--num_beams` must be at least 1"),
        ({"dropout_rate": 1.5}, r"`--dropout_rate` must be in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_writer(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(text_tasks.PRESETS["smoke_write"], **changes)


def test_metrics_fail_before_the_training(tmp_path, monkeypatch):
    def fit_classifier(config, run, build_model, *_, **__):
        build_model()
        pytest.fail("It would have been trained now.")

    texts = writing.WrittenTexts(["1"], ["a"], [["b"]])
    monkeypatch.setattr(kmmft.training, "fit_classifier", fit_classifier)
    monkeypatch.setattr(writing, "build_model", lambda *_: None)
    monkeypatch.setattr(writing, "check_lengths", lambda *_: None)
    monkeypatch.setattr(writing, "find_floors", lambda *_: {"copy": texts})
    splits = ("train", "validation", "test")
    rows = [{"text": name, "target": name, "split": name} for name in splits]
    config = write_config(tmp_path, rows, bleu_tokenizer="14b", batch_size=1)
    with (
        kmmft.training.RunDirectory(tmp_path / "run", config) as run,
        pytest.raises(ValueError, match=r"13a.*Received: '14b'"),
    ):
        writing.run_once(config, run)


def test_targets_that_are_too_long():
    config = text_tasks.PRESETS["smoke_write"]
    model = types.SimpleNamespace(text_lengths=lambda texts: np.array([30, 30, 9]))
    with pytest.raises(
        ValueError, match=r"24, where 67% of them.* more than 29 tokens"
    ):
        writing.check_lengths(config, model, [{"targets": ["a", "b", "c"]}])


@pytest.mark.usefixtures("tiny_text_encoder")
def test_decoders_from_scratch():
    config = dataclasses.replace(
        text_tasks.PRESETS["smoke_write"], sequence_length=16, target_length=8
    )
    records = [{"text": "anna rossi", "targets": ["Who?"]}]
    model = writing.build_model(config, records)
    assert model.tokenizer is model.encoders["text"].tokenizer
    frozen = dataclasses.replace(config, text_encoder="x", train_text_encoder=False)
    model = writing.build_model(frozen, records)
    assert not model.encoders["text"].trainable_variables
    assert model.decoder.trainable_variables
    assert model.tokenizer.vocabulary_size() == model.decoder.vocabulary_size


def test_a_pretrained_writer_brings_its_decoder(tmp_path):
    bart = pathlib.Path(__file__).parents[1] / "models/golden/bart"
    config = dataclasses.replace(
        text_tasks.PRESETS["smoke_write"],
        text_encoder=str(bart),
        sequence_length=16,
        target_length=8,
    )
    model = writing.build_model(config, [])
    assert isinstance(model.decoder, kmmft.models.BartDecoder)
    assert repr(model.search) == "BeamSearch(num_beams=2, length_penalty=0.6)"
    half = model.encoders["text"].backbone.get_layer("encoder")
    assert half.get_layer("token_embedding") is model.decoder.token_embedding
    texts = ["a cat sits", "the mat"]
    kmmft.export.export_model(model, tmp_path / "export", {"text": texts}, version=1)
    written = served(tmp_path)(text=tf.constant(texts))["text"]
    assert [text.decode() for text in written.numpy()] == model.generate(
        {"text": texts}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "sing"}, r"`--task` must be one of classify, .*'sing'"),
        ({"data": "somewhere"}, "Either `--files` or `--data`"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)


def test_no_data_and_records_of_another_task(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="Received: neither"):
        text_tasks.main(dataclasses.replace(config, files=""))
    features = kmmft.data.schema.rated()
    record = {"id": "1", "text": "a", "label": 0.5}
    with tfrecords_tools.DatasetWriter(tmp_path, "rated", features) as writer:
        writer.write("train", record)
    config = dataclasses.replace(config, output_dir=str(tmp_path / "other"))
    data = str(tmp_path / "rated/1.0.0")
    with pytest.raises(ValueError, match=r"needs records of .*labelled with a text"):
        text_tasks.main(dataclasses.replace(config, files="", data=data))


def test_a_text_without_marked_entities(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("text,label\n<e1>a</e1> <e2>b</e2>,x\n<e1>a</e1> b,y\n")
    config = dataclasses.replace(
        SMOKE,
        task="relate",
        files=str(table),
        split_column="",
        output_dir=str(tmp_path),
    )
    with pytest.raises(ValueError, match=r"one pair of <e1>.*line-0000003"):
        classifying.open_data(config)
