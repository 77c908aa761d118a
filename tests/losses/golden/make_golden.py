"""Makes `contrastive.npz` beside this file with PyTorch, in an environment of its own.

pip install torch==2.14.0 open_clip_torch==3.3.0 pytorch-metric-learning==2.9.0
python tests/losses/golden/make_golden.py
"""

import pathlib

import numpy as np
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch.nn import functional

HERE = pathlib.Path(__file__).parent
SCALE, BIAS = 14.0, -10.0
LABELS = torch.tensor([0, 0, 1, 2, 1, 3])


def both_ways(loss, image, text):
    return (loss(image, text) + loss(text, image)) / 2


def soft_targets(image, text):
    same = (LABELS[:, None] == LABELS).float()
    return functional.cross_entropy(
        SCALE * image @ text.T, same / same.sum(1, keepdim=True)
    )


def smoothed(image, text):
    return functional.cross_entropy(
        SCALE * image @ text.T, torch.arange(len(image)), label_smoothing=0.1
    )


def similarity_discrimination(image, text):
    rows, columns = np.meshgrid(range(len(image)), range(len(text)), indexing="ij")
    rows, columns = torch.tensor(rows).ravel(), torch.tensor(columns).ravel()
    own = rows == columns
    loss = torch.nn.CosineEmbeddingLoss(margin=0.1)
    near = loss(image[rows[own]], text[columns[own]], torch.ones(int(own.sum())))
    far = loss(image[rows[~own]], text[columns[~own]], -torch.ones(int((~own).sum())))
    return 0.3 * near + 0.7 * far


def matryoshka(image, text):
    return sum(
        weight
        * ClipLoss()(
            functional.normalize(image[:, :dim]),
            functional.normalize(text[:, :dim]),
            SCALE,
        )
        for dim, weight in ((8, 1.0), (4, 0.5), (2, 0.25))
    )


def distillation(image, text, teachers):
    teacher = functional.normalize(teachers[0]) @ functional.normalize(teachers[1]).T

    def divergence(student, teacher):
        return functional.kl_div(
            functional.log_softmax(SCALE * student, dim=1),
            functional.softmax(teacher / 0.1, dim=1),
            reduction="batchmean",
        )

    parts = divergence(image @ text.T, teacher), divergence(text @ image.T, teacher.T)
    return ClipLoss()(image, text, SCALE) + 2.0 * sum(parts) / 2


def main() -> None:
    random = np.random.default_rng(0)
    image, text = random.normal(size=(2, 6, 8)).astype("float32")
    teachers = random.normal(size=(2, 6, 5)).astype("float32")
    supervised = SupConLoss(temperature=0.2, reducer=MeanReducer())
    losses = {
        "info_nce": lambda i, t: ClipLoss()(i, t, SCALE),
        "siglip": lambda i, t: SigLipLoss()(i, t, SCALE, BIAS),
        "groups": lambda i, t: both_ways(soft_targets, i, t),
        "smoothing": lambda i, t: both_ways(smoothed, i, t),
        "similarity_discrimination": similarity_discrimination,
        "matryoshka": matryoshka,
        "supervised": lambda i, t: supervised(torch.cat([i, t]), LABELS.repeat(2)),
        "distillation": lambda i, t: distillation(i, t, torch.tensor(teachers)),
    }
    results = {"image": image, "text": text, "teachers": teachers}
    for name, loss in losses.items():
        towers = [torch.tensor(x, requires_grad=True) for x in (image, text)]
        value = loss(*(functional.normalize(tower) for tower in towers))
        value.backward()
        results[name] = value.detach().numpy()
        results[f"{name}_gradient"] = np.stack([t.grad.numpy() for t in towers])
    np.savez(HERE / "contrastive.npz", **results)


if __name__ == "__main__":
    main()
