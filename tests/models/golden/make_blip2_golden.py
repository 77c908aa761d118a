"""Makes the tiny BLIP-2 checkpoints beside this file, and what they write.

pip install torch transformers tokenizers sentencepiece safetensors
python tests/models/golden/make_blip2_golden.py
"""

import json
import pathlib

import numpy as np
import sentencepiece
import tokenizers
import torch
import transformers
from make_seq2seq_golden import sentence_pieces
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
WORDS = ["a", "cat", "sits", "on", "the", "mat", "red", "bird", "dog", "answer"]
QUESTIONS = ["a cat", "the red bird sits on", "", "dog on the mat"]
PROMPT = "{} answer"
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "Ġ", "Ċ", *"abcdeghimnorstw", "ca", "cat"]
MERGES = ["c a", "ca t", "Ġ s"]
SIZE, QUERIES, WRITTEN, IMAGE_ID = 8, 3, 6, 40
PIXELS = ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.632158, 70.3231630))


def byte_pairs() -> tokenizers.Tokenizer:
    pieces = [*PIECES, "Ġs"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [tuple(rule.split()) for rule in MERGES]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = level
    tokenizer.add_special_tokens(["</s>", "<pad>", "<image>"])
    return tokenizer


def opt() -> transformers.PretrainedConfig:
    return transformers.OPTConfig(
        vocab_size=IMAGE_ID + 1,
        hidden_size=12,
        ffn_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=12,
        max_position_embeddings=48,
        eos_token_id=PIECES.index("Ċ"),
        init_std=0.4,
    )


def t5() -> transformers.PretrainedConfig:
    return transformers.T5Config(
        vocab_size=IMAGE_ID + 1,
        d_model=12,
        d_kv=6,
        d_ff=16,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        initializer_factor=1.0,
    )


def blip2(text: transformers.PretrainedConfig) -> transformers.PreTrainedModel:
    sizes = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.Blip2Config(
        vision_config=transformers.Blip2VisionConfig(
            image_size=SIZE, patch_size=4, initializer_range=0.3, **sizes
        ),
        qformer_config=transformers.Blip2QFormerConfig(initializer_range=0.3, **sizes),
        text_config=text,
        num_query_tokens=QUERIES,
        image_token_index=IMAGE_ID,
    )
    model = transformers.Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        head = model.get_output_embeddings()
        if text.model_type == "t5":  # of its own, as in the presets
            head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
        for tensor in model.parameters():
            tensor += 0.2 * torch.randn_like(tensor)
        # The image's sign is no word.
        head.weight[IMAGE_ID] = 0
    return model


def write_checkpoint(model: transformers.PreTrainedModel, folder: pathlib.Path) -> None:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    tied = {"language_model.lm_head.weight"} if "opt" in folder.name else set()
    tied |= {name for name in weights if name.endswith("coder.embed_tokens.weight")}
    if "opt" in folder.name:
        tied.remove("language_model.model.decoder.embed_tokens.weight")
    weights = {name: own for name, own in weights.items() if name not in tied}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.dumps(model.config.to_dict(), indent=2)
    (folder / "config.json").write_text(config + "\n")


def prompts(kind: str, folder: pathlib.Path) -> tuple[list[list[int]], int]:
    """Token ids of the prompts, and the padding's."""
    texts = [PROMPT.format(question) for question in QUESTIONS]
    if kind == "opt":
        tokenizer = byte_pairs()
        tokenizer.save(str(folder / "tokenizer.json"))
        start, pad = tokenizer.token_to_id("</s>"), tokenizer.token_to_id("<pad>")
        return [[start, *tokenizer.encode(text).ids] for text in texts], pad
    (folder / "spiece.model").write_bytes(sentence_pieces(WORDS))
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    return [[*pieces.encode(text), pieces.eos_id()] for text in texts], pieces.pad_id()


def write(kind: str, text: transformers.PretrainedConfig) -> None:
    folder = HERE / f"blip2_{kind}"
    folder.mkdir(exist_ok=True)
    rows, pad = prompts(kind, folder)
    model = blip2(text)
    write_checkpoint(model, folder)
    longest = max(map(len, rows))
    padding = [[pad] * (longest - len(row)) for row in rows]
    # As its processor does: before an OPT's prompt, behind a T5's.
    pairs = list(zip(padding, rows, strict=True))
    rows = [a + b if kind == "opt" else b + a for a, b in pairs]
    ids = torch.tensor([[IMAGE_ID] * QUERIES + row for row in rows])
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(QUESTIONS), SIZE, SIZE, 3), "uint8")
    pixels = torch.tensor((images - PIXELS[0]) / PIXELS[1], dtype=torch.float32)
    written = model.generate(
        pixel_values=pixels.permute(0, 3, 1, 2),
        input_ids=ids,
        attention_mask=(ids != pad).long(),
        max_new_tokens=WRITTEN,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    logits = torch.stack(written.logits, 1).numpy()
    tokens = written.sequences[:, -logits.shape[1] :].numpy()
    np.savez(
        folder / "outputs.npz",
        image=images,
        question=np.array(QUESTIONS),
        tokens=tokens.astype("int32"),
        logits=logits,
    )
    print(kind, rows, tokens.tolist(), np.abs(logits).max())


def main() -> None:
    torch.manual_seed(5)
    write("opt", opt())
    write("t5", t5())


if __name__ == "__main__":
    main()
