"""Makes the tiny Gemma 3 checkpoint beside this file, and what it writes.

pip install torch transformers sentencepiece safetensors
python tests/models/golden/make_gemma3_golden.py
"""

import json
import pathlib

import numpy as np
import sentencepiece
import torch
import transformers
from make_pali_gemma_golden import (
    QUESTIONS,
    sentence_pieces,
    vision,
    write_checkpoint,
    write_outputs,
)

HERE = pathlib.Path(__file__).parent / "gemma3"
SIZE, IMAGE_TOKENS, WORDS = 16, 16, 40
IMAGE, END = "<img>", "<end_of_turn>"
TURN = (
    "<start_of_turn>user\n\n\n<start_of_image>{}<end_of_image>\n\n"
    "{} answer<end_of_turn>\n<start_of_turn>model\n"
)
SYMBOLS = [
    IMAGE,
    "<start_of_image>",
    "<end_of_image>",
    "<start_of_turn>",
    END,
    "user",
    "model",
    *("\n", "\n\n", "\n\n\n"),
]
PIXELS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}


def gemma3(image_id: int) -> transformers.PreTrainedModel:
    text = transformers.Gemma3TextConfig(
        hidden_size=8,
        intermediate_size=16,
        # The last of six sees everything; the others have windows.
        num_hidden_layers=6,
        # Wider than an image, as in all presets: in narrower ones, an image's tokens
        # see each other in transformers, but not in KerasHub.
        sliding_window=20,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        query_pre_attn_scalar=4,
        rope_parameters={
            "full_attention": {
                "rope_type": "linear",
                "factor": 8.0,
                "rope_theta": 1_000_000.0,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        vocab_size=WORDS,
    )
    config = transformers.Gemma3Config(
        vision_config=vision(SIZE, patch=1),
        text_config=text,
        image_token_index=image_id,
        mm_tokens_per_image=IMAGE_TOKENS,
    )
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 0.3 * torch.randn_like(tensor)
    return model


def main() -> None:
    torch.manual_seed(5)
    HERE.mkdir(exist_ok=True)
    (HERE / "tokenizer.model").write_bytes(sentence_pieces(SYMBOLS, WORDS))
    (HERE / "preprocessor_config.json").write_text(json.dumps(PIXELS, indent=2) + "\n")
    pieces = sentencepiece.SentencePieceProcessor(str(HERE / "tokenizer.model"))
    image_id, end_id = pieces.piece_to_id(IMAGE), pieces.piece_to_id(END)
    model = gemma3(image_id)
    write_checkpoint(model, HERE)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(QUESTIONS), SIZE, SIZE, 3), "uint8")
    rows = [
        [pieces.bos_id(), *pieces.encode(TURN.format(IMAGE * IMAGE_TOKENS, question))]
        for question in QUESTIONS
    ]
    longest = max(map(len, rows))
    padded = [[0] * (longest - len(row)) + row for row in rows]
    tokens, logits = write_outputs(
        HERE,
        model,
        padded,
        images,
        token_type_ids=(torch.tensor(padded) == image_id).long(),
        eos_token_id=end_id,
    )
    print(rows, tokens.tolist(), np.abs(logits).max())


if __name__ == "__main__":
    main()
