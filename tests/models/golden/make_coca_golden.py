"""Makes `coca.npz` beside this file with PyTorch, in an environment of its own.

pip install torch==2.14.1 open_clip_torch==3.3.0
python tests/models/golden/make_coca_golden.py
"""

import pathlib

import numpy as np
import torch
from open_clip.loss import CoCaLoss

ROWS, DIM, LENGTH, WORDS = 4, 4, 6, 9


def main():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2, ROWS, DIM)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    logits = random.normal(size=(ROWS, LENGTH - 1, WORDS)).astype("float32")
    token_ids = random.integers(1, WORDS, (ROWS, LENGTH))
    for row, length in enumerate((6, 3, 4, 5)):
        token_ids[row, length:] = 0
    tensors = [torch.tensor(x, requires_grad=True) for x in (*vectors, logits)]
    image, text, scores = tensors
    loss = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0, pad_id=0)
    labels = torch.tensor(token_ids[:, 1:])
    contrastive, caption = loss(image, text, scores, labels, torch.tensor(1 / 0.07))
    (contrastive + caption).backward()
    np.savez(
        pathlib.Path(__file__).with_name("coca.npz"),
        image=vectors[0],
        text=vectors[1],
        logits=logits,
        token_ids=token_ids.astype("int32"),
        contrastive_loss=contrastive.item(),
        caption_loss=caption.item(),
        gradients=np.concatenate([x.grad.numpy().ravel() for x in tensors]),
    )


if __name__ == "__main__":
    main()
