"""Makes the tiny BART and T5 checkpoints beside this file, and what they answer.

pip install torch transformers sentencepiece
python tests/models/golden/make_seq2seq_golden.py
"""

import io
import json
import pathlib

import numpy as np
import sentencepiece
import torch
import transformers

HERE = pathlib.Path(__file__).parent
WORDS = ["a", "cat", "sits", "on", "the", "mat", "red", "bird", "dog"]
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdeghimnorst", "ca"]
PIECES += ["cat", "Ġs"]
MERGES = ["c a", "ca t", "Ġ s"]
LENGTH = 10


def sentence_pieces(words: list[str] = WORDS) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 20),
        model_writer=model,
        vocab_size=30,
        model_type="unigram",
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    return model.getvalue()


def bart() -> transformers.PreTrainedModel:
    return transformers.BartForConditionalGeneration(
        transformers.BartConfig(
            vocab_size=len(PIECES),
            d_model=8,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=16,
            init_std=0.7,
            forced_eos_token_id=None,
        )
    )


def t5(gated: bool) -> transformers.PreTrainedModel:
    """Gated as T5 1.1 and Flan-T5, or as the first T5."""
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=40,
            d_model=8,
            d_kv=6,
            d_ff=16,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu" if gated else "relu",
            tie_word_embeddings=not gated,
            decoder_start_token_id=0,
            initializer_factor=1.5,
        )
    )


def write(name: str, model: transformers.PreTrainedModel) -> None:
    model.eval()
    with torch.no_grad():
        for tensor in model.parameters():  # biases and scales begin as 0 and 1
            tensor += 0.1 * torch.randn_like(tensor)
    model.save_pretrained(HERE / name)
    (HERE / name / "generation_config.json").unlink()
    random = np.random.default_rng(0)
    ids = torch.tensor(random.integers(5, len(PIECES), (6, 7)))
    mask = torch.tensor(np.arange(7) < random.integers(2, 8, (6, 1))).long()
    targets = torch.tensor(random.integers(5, len(PIECES), (6, 5)))
    start = {"forced_bos_token_id": 0} if name == "bart" else {}
    common = {"input_ids": ids, "attention_mask": mask}
    limits = {"max_length": LENGTH, "do_sample": False, **start}
    with torch.no_grad():
        logits = model(**common, decoder_input_ids=targets).logits
        greedy = model.generate(**common, num_beams=1, **limits)
    np.savez(
        HERE / name / "outputs.npz",
        token_ids=ids.numpy().astype("int32"),
        padding_mask=mask.numpy().astype(bool),
        target_token_ids=targets.numpy().astype("int32"),
        logits=logits.numpy(),
        greedy=greedy.numpy(),
    )
    print(name, greedy.tolist())


def main() -> None:
    torch.manual_seed(3)
    write("bart", bart())
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    (HERE / "bart/vocab.json").write_text(json.dumps(vocabulary))
    (HERE / "bart/merges.txt").write_text("\n".join(MERGES))
    # As versions before 5 wrote it: KerasHub reads this name.
    config = json.loads((HERE / "bart/config.json").read_text())
    config["num_hidden_layers"] = config["encoder_layers"]
    (HERE / "bart/config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("t5", "t5_gated"):
        write(name, t5(gated=name == "t5_gated"))
        (HERE / name / "spiece.model").write_bytes(sentence_pieces())


if __name__ == "__main__":
    main()
