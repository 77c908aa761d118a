"""Makes the CLIP and SigLIP checkpoints beside this file, and what they give.

In an environment of its own, from the root of the repository:

pip install torch==2.14.1 transformers==5.23.0 open_clip_torch==3.3.0 sentencepiece
python tests/encoders/golden/make_dual_golden.py
"""

import json
import pathlib

import numpy as np
import open_clip
import timm
import torch
import transformers
from make_dual_tokenizers import (
    clip_tokenizer,
    padded,
    siglip2_tokenizer,
    siglip_tokenizer,
)
from safetensors.torch import save_file
from token_strings import strings

HERE = pathlib.Path(__file__).parent
CLIP_MEAN, CLIP_STD = (
    torch.tensor(open_clip.OPENAI_DATASET_MEAN),
    torch.tensor(open_clip.OPENAI_DATASET_STD),
)
HALF = torch.full((3,), 0.5)


def image(size: int) -> torch.Tensor:
    """Two images with pixels in [0, 255] by a formula, the same in the test."""
    n, y, x, c = np.meshgrid(range(2), *[range(size)] * 2, range(3), indexing="ij")
    pixels = 127.5 + 127.5 * np.sin(0.17 * x + 0.31 * y + 1.3 * c + 2.1 * n)
    return torch.from_numpy(pixels.astype("float32"))


def normalised(size: int, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return ((image(size) / 255 - mean) / std).permute(0, 3, 1, 2)


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every weight and bias takes part, and layer norms are no identities."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name not in ("logit_scale", "logit_bias"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
                if "norm" in name and name.endswith("weight"):
                    value.add_(1.0)
    return model.eval()


def transformer(**sizes) -> dict:
    return {"num_hidden_layers": 2, "num_attention_heads": 2, **sizes}


def hugging_face_outputs(model, size, ids, mean, std, interpolate=False) -> dict:
    with torch.no_grad():
        outputs = model(
            input_ids=torch.from_numpy(ids.astype("int64")),
            pixel_values=normalised(size, mean, std),
            interpolate_pos_encoding=interpolate,
        )
    return {
        f"image_{size}": outputs.image_embeds.numpy(),
        "text": outputs.text_embeds.numpy(),
        f"logits_{size}": outputs.logits_per_image.numpy(),
    }


def make_clip(texts: list[str], ids: dict) -> None:
    directory = HERE / "clip"
    tokenizer = clip_tokenizer()
    config = transformers.CLIPConfig(
        text_config=transformer(
            hidden_size=16,
            intermediate_size=24,
            vocab_size=len(tokenizer),
            max_position_embeddings=24,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=transformer(
            hidden_size=24, intermediate_size=32, image_size=32, patch_size=8
        ),
        projection_dim=12,
        logit_scale_init_value=1.5,
    )
    model = randomise(transformers.CLIPModel(config), 0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(directory)
    ids["clip"] = padded(tokenizer, texts, 24)
    parts = (CLIP_MEAN, CLIP_STD)
    some = ids["clip"][::250]
    results = {}
    for size in (48, 24, 32):
        results |= hugging_face_outputs(model, size, some, *parts, size != 32)
    np.savez(directory / "outputs.npz", **results)


def make_siglip(texts: list[str], ids: dict) -> None:
    directory = HERE / "siglip"
    tokenizer = siglip_tokenizer(directory)
    config = transformers.SiglipConfig(
        text_config=transformer(
            hidden_size=16,
            intermediate_size=24,
            vocab_size=tokenizer.vocab_size,
            max_position_embeddings=16,
        ),
        vision_config=transformer(
            hidden_size=16, intermediate_size=32, image_size=32, patch_size=8
        ),
    )
    model = randomise(transformers.SiglipModel(config), 1)
    with torch.no_grad():
        model.logit_scale.fill_(1.7)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(directory)
    ids["siglip"] = padded(tokenizer, texts, 16)
    np.savez(
        directory / "outputs.npz",
        **hugging_face_outputs(model, 32, ids["siglip"][::250], HALF, HALF),
    )


def open_clip_outputs(model, size, ids, mean, std) -> dict:
    with torch.no_grad():
        images = model.encode_image(normalised(size, mean, std), normalize=True)
        texts = model.encode_text(torch.from_numpy(ids.astype("int64")), normalize=True)
        bias = 0.0 if model.logit_bias is None else model.logit_bias
        logits = model.logit_scale.exp() * images @ texts.T + bias
    return {
        f"image_{size}": images.numpy(),
        "text": texts.numpy(),
        f"logits_{size}": logits.numpy(),
    }


def write_open_clip(directory, config, mean, std, resize_mode) -> None:
    directory.mkdir(exist_ok=True)
    preprocess = {
        "mean": mean.tolist(),
        "std": std.tolist(),
        "interpolation": "bicubic",
        "resize_mode": resize_mode,
    }
    (directory / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2)
    )


def make_open_clip(ids: dict) -> None:
    """A ViT CLIP with the exact GELU, in PyTorch's own format."""
    directory = HERE / "open_clip"
    config = {
        "embed_dim": 12,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
            "mlp_ratio": 2.0,
        },
        "text_cfg": {
            "context_length": 24,
            "vocab_size": 1024,
            "width": 8,
            "heads": 2,
            "layers": 1,
        },
    }
    model = randomise(open_clip.CLIP(**config), 2)
    write_open_clip(directory, config, CLIP_MEAN, CLIP_STD, "shortest")
    torch.save(model.state_dict(), directory / "open_clip_pytorch_model.bin")
    results = open_clip_outputs(model, 32, ids["clip"][::250], CLIP_MEAN, CLIP_STD)
    state = model.state_dict()
    for size in (48, 24):
        config["vision_cfg"]["image_size"] = size
        other, resized = open_clip.CLIP(**config).eval(), dict(state)
        open_clip.model.resize_pos_embed(resized, other)
        other.load_state_dict(resized)
        ids_of_one = ids["clip"][:1]
        more = open_clip_outputs(other, size, ids_of_one, CLIP_MEAN, CLIP_STD)
        results[f"image_{size}"] = more[f"image_{size}"]
    np.savez(directory / "outputs.npz", **results)


def make_open_clip_siglip(ids: dict) -> None:
    directory = HERE / "open_clip_siglip"
    config = {
        "embed_dim": 24,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 32,
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 220,
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 8,
            "heads": 2,
            "layers": 1,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    }
    # Built small, then with timm's own trunk in a size of the test's choice.
    small = {"layers": 1, "width": 8, "head_width": 8, "patch_size": 16}
    model = open_clip.CustomTextCLIP(
        24, {"image_size": 32, **small}, config["text_cfg"], init_logit_bias=-10
    )
    model.visual = torch.nn.ModuleDict(
        {
            "trunk": timm.models.vision_transformer.VisionTransformer(
                img_size=32,
                patch_size=8,
                embed_dim=24,
                depth=2,
                num_heads=12,
                mlp_ratio=2,
                class_token=False,
                global_pool="map",
                num_classes=0,
            )
        }
    )
    model.visual.forward = model.visual["trunk"].forward
    randomise(model, 3)
    with torch.no_grad():
        model.logit_scale.fill_(1.7)
    write_open_clip(directory, config, HALF, HALF, "squash")
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    np.savez(
        directory / "outputs.npz",
        **open_clip_outputs(model, 32, ids["siglip"][::250], HALF, HALF),
    )


if __name__ == "__main__":
    texts, ids = strings(), {}
    make_clip(texts, ids)
    make_siglip(texts, ids)
    ids["siglip2"] = padded(siglip2_tokenizer(HERE / "siglip2"), texts, 16)
    make_open_clip(ids)
    make_open_clip_siglip(ids)
    np.savez_compressed(HERE / "token_ids.npz", **ids)
