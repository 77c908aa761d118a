"""Smaller and faster variants of the served towers, and of what they search in."""

import numpy as np

import kmmft
from kmmft.evaluation import Compression, RecordVectors, Table
from kmmft.evaluation.compression import CompressedRows

from ..variants.table import budget_table
from .settings import Config

KS = (1, 5)
MODALITIES = ("image", "text")


def variants_table(
    config: Config,
    model: kmmft.models.DualEncoder,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> Table:
    """Exports variants, and chooses that of the highest mean recall in the budget."""
    test = kmmft.data.first_records(source, "test", 1000, on_error="skip")
    known = kmmft.data.first_records(source, "train", 200, on_error="skip")
    captions = [(i, one) for i, record in enumerate(test) for one in record["captions"]]
    image_of_text, texts = zip(*captions, strict=True)
    images = [record["image"] for record in test]
    # A served model takes pairs: the first images once more fill up the column.
    pairs = {"image": [images[i % len(images)] for i in range(len(texts))]}
    pairs["text"] = list(texts)
    found = []

    def mean_recall(answer):
        answers = answer(pairs)
        vectors = [answers[f"{modality}_embedding"] for modality in MODALITIES]
        ks = [k for k in (1, 5, 10) if k <= len(images)]
        found.append(
            kmmft.metrics.two_way_retrieval(
                vectors[0][: len(images)], vectors[1], image_of_text, ks, MODALITIES
            )
        )
        return found[-1]["mean_recall"]

    variants = kmmft.export.export_variants(
        model,
        run.path / "variants",
        {
            "image": [record["image"] for record in known],
            "text": [record["captions"][0] for record in known],
        },
        mean_recall,
        baseline=run.export / "1",
    )
    title = f"Variants of the served model, on {len(test)} test records"
    return budget_table(config, variants, title, _columns(variants, found))


def _columns(variants, found: list[dict[str, float]]) -> dict[str, list]:
    """Recalls by column; those that could not be made have none."""
    names = {
        f"{one}_to_{other}/recall_at_{k}": f"{one} → {other} R@{k}"
        for one, other in (MODALITIES, MODALITIES[::-1])
        for k in KS
    }
    names["mean_recall"] = "mean recall"
    measured = iter(found)
    rows = [{} if v.score is None else next(measured) for v in variants]
    return {names[key]: [row.get(key) for row in rows] for key in names}


def index_table(encoded: RecordVectors) -> Table:
    """Finding the test images by their captions, with the images' vectors in few bits.

    Args:
        encoded: Of the test split, as `RetrievalEvaluator.encode` returns it.
    """
    images, texts = (encoded.vectors[modality] for modality in MODALITIES)
    ks = [k for k in (1, 5, 10) if k <= len(images)]
    dim = images.shape[1]
    kept = {"float32": Compression(rescore=0)}
    for kind in ("int8", "binary"):
        kept[kind] = Compression(kind, rescore=0)
        kept[f"{kind}, 4 times rescored"] = Compression(kind, rescore=4)
    for part in (2, 4, 8):
        name = f"first {dim // part} of {dim} numbers"
        kept[name] = Compression(dim=dim // part, rescore=0)
        kept[f"{name}, 4 times rescored"] = Compression(dim=dim // part, rescore=4)
    rows = []
    for name, compression in kept.items():
        index = CompressedRows(images, compression)
        nearest, _ = index.nearest(texts, max(ks))
        right = nearest == encoded.record_of["text"][:, np.newaxis]
        recalls = [float(right[:, :k].any(axis=1).mean()) for k in ks]
        rows.append([name, index.nbytes / len(images), *recalls])
    return Table(
        f"Finding {len(images)} test images by {len(texts)} captions",
        ["kept of an image", "bytes", *(f"R@{k}" for k in ks)],
        rows,
        note="Rescored: the best 4 times as many by the kept ones are compared again "
        "by the whole vectors, which lie on disk.",
    )
