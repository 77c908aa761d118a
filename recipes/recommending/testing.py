"""How well next items are foretold: by the model, by popularity, by likeness."""

from collections.abc import Callable, Mapping

import numpy as np

import kmmft
from kmmft.evaluation import EpochEvaluator, Table
from kmmft.metrics import next_item_gains

from .data import Catalogue
from .histories import Histories

ROWS = {
    "popular": "most popular items",
    "nearest": "items nearest to the history, untrained",
    "with_popularity": "this model, and popularity",
    "test": "this model",
}
CHUNK = 256


def item_vectors(
    model: kmmft.models.SequenceRecommender, items: Catalogue
) -> np.ndarray:
    """The item tower's vectors of all items."""
    return model.item_tower.predict(items.features, batch_size=1024, verbose=0)


def gains(
    histories: Histories,
    split: str,
    score: Callable[[list[np.ndarray]], np.ndarray],
    k: int,
    users: np.ndarray | None = None,
    others: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Hit, NDCG and reciprocal rank of each user; items once chosen do not compete.

    Args:
        histories: Who chose what.
        split: `"validation"` or `"test"`.
        score: Makes of some users' items before scores `(users, items)`.
        k: Length of the list.
        users: The users to test, int; `None` for all.
        others: Items that do not compete either, int.
    """
    before, targets = histories.held_out(split)
    users = np.arange(len(before)) if users is None else users
    never = np.zeros(0, np.int64) if others is None else others
    parts = []
    for start in range(0, len(users), CHUNK):
        rows = users[start : start + CHUNK]
        seen = [before[row] for row in rows]
        out = [np.concatenate([own, never]) for own in seen]
        parts.append(next_item_gains(score(seen), targets[rows], out, k))
    return {name: np.concatenate([x[name] for x in parts]) for name in parts[0]}


def by_model(
    model: kmmft.models.SequenceRecommender, vectors: np.ndarray
) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Scores of the model, by its `item_vectors`."""
    return lambda seen: model.encode_users([vectors[own] for own in seen]) @ vectors.T


def with_popularity(
    model: kmmft.models.SequenceRecommender, vectors: np.ndarray, histories: Histories
) -> Callable[[list[np.ndarray]], np.ndarray]:
    """The model's logits, and the logarithm of how often an item was chosen."""
    score = by_model(model, vectors)
    scale = float(model.logit_scale_layer.scale())
    prior = np.log1p(histories.training_counts())
    return lambda seen: scale * score(seen) + prior


def by_popularity(
    histories: Histories,
) -> Callable[[list[np.ndarray]], np.ndarray]:
    """How often each item was chosen in the training part."""
    counts = histories.training_counts()
    return lambda seen: np.tile(counts, (len(seen), 1))


def by_likeness(items: Catalogue) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Cosine with the history's mean, of the encoders' vectors as they are."""
    modalities = [
        name for name in items.features if f"{name}_present" in items.features
    ]
    parts = []
    for name in modalities:
        here = items.features[f"{name}_present"][:, np.newaxis]
        centred = items.features[name] - items.features[name].mean(axis=0)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        parts.append(np.where(here, centred / np.maximum(length, 1e-12), 0.0))
    vectors = np.concatenate(parts, axis=1)
    return lambda seen: (
        np.stack([vectors[own].mean(axis=0) for own in seen]) @ (vectors.T)
    )


def test_metrics(
    histories: Histories,
    scorers: Mapping[str, Callable[[list[np.ndarray]], np.ndarray]],
    k: int,
) -> dict[str, float]:
    """Means over all test users, and over those whose item is new: never trained on.

    Args:
        histories: Who chose what.
        scorers: Ways to score, by the name that their metrics begin with.
        k: Length of the list.

    Returns:
        Flat dict such as `test/ndcg_at_10`; `test/new/ndcg_at_10` where the next item
        is new, and `test/among_new/ndcg_at_10` if only new items compete there. The
        latter are left out if there is no such user.
    """
    _, targets = histories.held_out("test")
    counts = histories.training_counts()
    users = np.flatnonzero(counts[targets] == 0)
    known = np.flatnonzero(counts)
    metrics = {"users": len(targets), "new_item_users": len(users)}
    for name, score in scorers.items():
        found = gains(histories, "test", score, k)
        parts = {name: found}
        if len(users):
            parts[f"{name}/new"] = {key: x[users] for key, x in found.items()}
            parts[f"{name}/among_new"] = gains(
                histories, "test", score, k, users, known
            )
        for prefix, values in parts.items():
            metrics |= {f"{prefix}/{key}": float(x.mean()) for key, x in values.items()}
    return metrics


def result_table(metrics: Mapping[str, float], k: int) -> Table:
    """The model among its floors, and for new items alone."""
    columns = {
        f"HR@{k}": f"hit_rate_at_{k}",
        f"NDCG@{k}": f"ndcg_at_{k}",
        f"HR@{k}, new items": f"new/hit_rate_at_{k}",
        f"HR@{k}, among new items": f"among_new/hit_rate_at_{k}",
    }
    rows = [
        [label, *(metrics.get(f"{row}/{name}") for name in columns.values())]
        for row, label in ROWS.items()
    ]
    return Table(
        "Next items of the test",
        ["", *columns],
        rows,
        highlight=len(rows) - 1,
        note=f"{metrics['users']} users; for {metrics['new_item_users']} of them the "
        "next item is new: in nobody's training history. All items that a user has "
        "not chosen before compete; in the last column, only new ones.",
    )


class NextItemEvaluator(EpochEvaluator):
    """Validates after each epoch: HR, NDCG and reciprocal rank of all users."""

    def __init__(self, items: Catalogue, histories: Histories, k: int):
        super().__init__()
        self.items = items
        self.histories = histories
        self.k = k

    def evaluate(self, model) -> dict[str, float]:
        score = by_model(model, item_vectors(model, self.items))
        found = gains(self.histories, "validation", score, self.k)
        return {name: float(values.mean()) for name, values in found.items()}

    def metric_names(self) -> list[str]:
        return list(next_item_gains(np.zeros((1, 1)), [0], k=self.k))
