"""What a pretrained writer writes after saving and after export."""

import keras
import tensorflow as tf

import kmmft
from kmmft.models import BeamSearch
from tests.export.test_export_model import answers_here


def check_round_trips(model, raw, folder, monkeypatch):
    monkeypatch.setattr(kmmft.export.parity, "answers_in_fresh_process", answers_here)
    texts = model.generate(raw)
    assert len(set(texts)) > 1
    model.save(folder / "model.keras")
    again = keras.saving.load_model(folder / "model.keras")
    assert again.tokenizer is again.encoders["question"].tokenizer
    assert again.generate(raw) == texts
    search = BeamSearch(2)
    assert again.generate(raw, search=search) == model.generate(raw, search=search)
    path = kmmft.export.export_model(model, folder / "export", raw)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    answers = served(**raw)["text"].numpy().tolist()
    assert [answer.decode() for answer in answers] == texts
