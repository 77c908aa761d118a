"""Makes the tiny PaliGemma checkpoint beside this file, and what it writes.

pip install torch transformers sentencepiece safetensors
python tests/models/golden/make_pali_gemma_golden.py
"""

import io
import json
import pathlib

import numpy as np
import sentencepiece
import torch
import transformers
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent / "pali_gemma"
WORDS = ["a", "cat", "sits", "on", "the", "mat", "red", "bird", "dog", "answer", "en"]
QUESTIONS = ["a cat", "the red bird sits on", "", "dog on the mat"]
SIZE, PATCH, IMAGE_TOKENS, IMAGE_ID, WRITTEN = 8, 4, 4, 40, 6
# What KerasHub's converter calls them: versions before 5 wrote these names.
NAMES = {
    "model.vision_tower.": "vision_tower.vision_model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "model.language_model.": "language_model.model.",
}


def sentence_pieces(symbols: list[str], size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 20),
        model_writer=model,
        vocab_size=size,
        model_type="unigram",
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=symbols,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        bos_piece="<bos>",
        eos_piece="<eos>",
    )
    return model.getvalue()


def vision(size: int, patch: int, **options) -> transformers.SiglipVisionConfig:
    return transformers.SiglipVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=size,
        patch_size=patch,
        **options,
    )


def pali_gemma() -> transformers.PreTrainedModel:
    text = transformers.GemmaConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        # The converter reads the one as the other.
        head_dim=IMAGE_TOKENS,
        num_image_tokens=IMAGE_TOKENS,
        vocab_size=IMAGE_ID + 8,
    )
    config = transformers.PaliGemmaConfig(
        vision_config=vision(SIZE, PATCH, projection_dim=8),
        text_config=text,
        image_token_index=IMAGE_ID,
        projection_dim=8,
    )
    model = transformers.PaliGemmaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 0.4 * torch.randn_like(tensor)
    return model


def write_checkpoint(
    model: transformers.PreTrainedModel, folder: pathlib.Path = HERE
) -> None:
    weights = {}
    for name, tensor in model.state_dict().items():
        if "head" in name.split(".")[2:3] or name == "lm_head.weight":
            continue  # SigLIP's pooling, which nothing reads, and tied words
        for new, old in NAMES.items():
            name = name.replace(new, old)
        weights[name] = tensor.numpy()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = model.config.to_dict()
    config["image_token_index"] = model.config.image_token_id
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_outputs(
    folder: pathlib.Path,
    model: transformers.PreTrainedModel,
    rows: list[list[int]],
    images: np.ndarray,
    words: int | None = None,
    **options,
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps what a model writes greedily, and the logits of the first `words` words."""
    ids = torch.tensor(rows)
    pixels = torch.tensor(images / 127.5 - 1, dtype=torch.float32)
    written = model.generate(
        input_ids=ids,
        pixel_values=pixels.permute(0, 3, 1, 2),
        attention_mask=(ids != 0).long(),
        max_new_tokens=WRITTEN,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    tokens = written.sequences[:, ids.shape[1] :].numpy()
    logits = torch.stack(written.logits, 1)[:, :, :words].numpy()
    np.savez(
        folder / "outputs.npz",
        image=images,
        question=np.array(QUESTIONS),
        tokens=tokens.astype("int32"),
        logits=logits,
    )
    return tokens, logits


def main() -> None:
    torch.manual_seed(4)
    HERE.mkdir(exist_ok=True)
    (HERE / "tokenizer.model").write_bytes(sentence_pieces(["\n"], IMAGE_ID))
    pieces = sentencepiece.SentencePieceProcessor(str(HERE / "tokenizer.model"))
    model = pali_gemma()
    write_checkpoint(model)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(QUESTIONS), SIZE, SIZE, 3), "uint8")
    start, line_break = pieces.bos_id(), pieces.piece_to_id("\n")
    prompts = [
        [start, *pieces.encode(f"answer en {question}"), line_break]
        for question in QUESTIONS
    ]
    longest = max(map(len, prompts))
    # As its processor does: padding before everything else, and token types.
    rows = [[IMAGE_ID] * IMAGE_TOKENS + prompt for prompt in prompts]
    rows = [[0] * (longest + IMAGE_TOKENS - len(row)) + row for row in rows]
    tokens, logits = write_outputs(
        HERE,
        model,
        rows,
        images,
        token_type_ids=torch.zeros_like(torch.tensor(rows)),
        suppress_tokens=list(range(IMAGE_ID, IMAGE_ID + 8)),
        words=IMAGE_ID,
    )
    print(prompts, tokens.tolist(), np.abs(logits).max())


if __name__ == "__main__":
    main()
