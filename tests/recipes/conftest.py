"""What keeps the recipes' tests short: small encoders, and exports compared here."""

import keras_hub
import pytest

import kmmft
from kmmft.export import parity
from tests.export.test_export_model import answers_here

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "what", "color", "shape"]
WORDS += ["red", "green", "blue", "square", "disc", "?"]


@pytest.fixture
def tiny_encoders(monkeypatch):
    """Stands in for the pretrained encoders where their features do not matter."""

    def image_encoder(handle, image_size, **kwargs):
        shape = (image_size, image_size, 3)
        backbone = keras_hub.models.ViTBackbone(shape, image_size // 4, 1, 2, 16, 16)
        return kmmft.encoders.ImageEncoder(backbone, **kwargs)

    def text_encoder(handle, sequence_length):
        return kmmft.encoders.TextEncoder(
            keras_hub.models.BertBackbone(len(WORDS), 1, 2, 16, 16),
            keras_hub.models.BertTokenizer(WORDS, lowercase=True),
            sequence_length,
        )

    monkeypatch.setattr(kmmft.encoders.ImageEncoder, "from_preset", image_encoder)
    monkeypatch.setattr(kmmft.encoders.TextEncoder, "from_preset", text_encoder)


@pytest.fixture(scope="module", autouse=True)
def exports_compared_here(request):
    """A process for each export takes long: the quickstart's recipe alone has one."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("visual_question_answering"):
            patch.setattr(parity, "answers_in_fresh_process", answers_here)
        yield
