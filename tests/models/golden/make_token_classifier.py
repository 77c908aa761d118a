"""Saves a TokenClassifier of texts alone: ran once, before it could read images.

    PYTHONPATH=. python tests/models/golden/make_token_classifier.py

writes token_classifier.keras, and token_classifier.json with its weights' paths and the
logits of one sentence.
"""

import json
import pathlib

import keras
import keras_hub
import numpy as np

import kmmft

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "an", "##na", "sing", "##s", "."]
HERE = pathlib.Path(__file__).parent

keras.utils.set_random_seed(0)
encoder = kmmft.encoders.TextEncoder(
    keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
    keras_hub.models.BertTokenizer(WORDS, lowercase=True),
    sequence_length=8,
)
model = kmmft.models.TokenClassifier(encoder, ["O", "B-PER", "I-PER"])
model.save(HERE / "token_classifier.keras")
tokens = np.array([[2, 5, 6, 7, 8, 9, 3, 0]])
logits = model({"token_ids": tokens, "padding_mask": tokens > 0})
found = {"weights": [w.path for w in model.weights], "logits": logits.numpy().tolist()}
(HERE / "token_classifier.json").write_text(json.dumps(found))
