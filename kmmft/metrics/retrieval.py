"""How well vectors of one kind find those of another that belong to them."""

from collections.abc import Sequence

import numpy as np

from kmmft.metrics.retrieval_ranks import RightCandidates, rank_right_candidates
from kmmft.metrics.unit_vectors import unit_vectors


def retrieval_metrics(
    queries: np.ndarray,
    candidates: np.ndarray,
    query_group: Sequence[int],
    candidate_group: Sequence[int],
    ks: Sequence[int] = (1, 5, 10),
    chunk_size: int = 2048,
) -> dict[str, float]:
    """Recall at k, ranks and mean average precision of a search by cosine.

    A query has all candidates of its group to find. As the literature counts several
    captions of one image, it is a hit when one of them is among the first k, and its
    rank is that of the foremost one; average precision is over all of them. A caption
    that seeks its image has one to find.

    The numbers are exact, and the scores of `chunk_size` queries and 2048 candidates
    are held at a time. Candidates whose cosines differ by less than 1e-6, which float32
    cannot tell apart, are tied, and each number is its mean over all orders of the
    tied: vectors that are all alike get what chance gives, not a perfect score.

    Args:
        queries: float array `(num_queries, dim)`, of any lengths.
        candidates: float array `(num_candidates, dim)`.
        query_group: Group of each query, int.
        candidate_group: Group of each candidate, int.
        ks: Numbers of first candidates to look at.
        chunk_size: Queries that are compared at a time.

    Returns:
        dict: `recall_at_<k>`, `median_rank`, `mean_rank` (the best rank is 1) and
        `mean_average_precision`.

    Raises:
        ValueError: If shapes do not fit, a vector is not finite, a query has nothing
            to find, or a k is larger than the number of candidates.

    Example:
        >>> images = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> texts = np.array([[1.0, 0.2], [0.3, 1.0], [0.8, 0.6]])
        >>> metrics = kmmft.metrics.retrieval_metrics(
        ...     texts, images, query_group=[0, 1, 1], candidate_group=[0, 1], ks=(1, 2)
        ... )
        >>> round(metrics["recall_at_1"], 3), metrics["recall_at_2"]
        (0.667, 1.0)

    References:
        - [Karpathy and Fei-Fei, 2015](https://arxiv.org/abs/1412.2306), section 4.1.
        - [McSherry and Najork, 2008](https://doi.org/10.1007/978-3-540-78646-7_38)
          (ties).
    """
    queries = unit_vectors("queries", queries)
    candidates = unit_vectors("candidates", candidates)
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            "Queries and candidates must be equally wide. Received: "
            f"{queries.shape} and {candidates.shape}. Take both from one model."
        )
    return _compare(queries, candidates, query_group, candidate_group, ks, chunk_size)


def two_way_retrieval(
    image_vectors: np.ndarray,
    text_vectors: np.ndarray,
    image_of_text: Sequence[int],
    ks: Sequence[int] = (1, 5, 10),
    names: tuple[str, str] = ("image", "text"),
) -> dict[str, float]:
    """Retrieval in both directions, as image-text papers report it.

    Args:
        image_vectors: float array `(num_images, dim)`.
        text_vectors: float array `(num_texts, dim)`.
        image_of_text: Row of each text's image. Every image has a text.
        ks: Numbers of first candidates to look at.
        names: What the first and the second kind of vectors are called.

    Returns:
        dict: `image_to_text/recall_at_1`, ..., `text_to_image/recall_at_1`, ..., all
        that `retrieval_metrics` gives for both directions, and `mean_recall`, the
        mean of all recalls.

    Raises:
        ValueError: As `retrieval_metrics`.

    Example:
        >>> images = np.eye(2)
        >>> texts = np.array([[1.0, 0.1], [0.9, 0.2], [0.6, 0.5]])
        >>> metrics = kmmft.metrics.two_way_retrieval(images, texts, [0, 0, 1], ks=(1,))
        >>> metrics["image_to_text/recall_at_1"]
        1.0
        >>> round(metrics["mean_recall"], 4)
        0.8333
    """
    images = np.arange(len(image_vectors))
    first, second = names
    directions = {
        f"{first}_to_{second}": (image_vectors, text_vectors, images, image_of_text),
        f"{second}_to_{first}": (text_vectors, image_vectors, image_of_text, images),
    }
    return _with_mean_recall(
        {
            direction: retrieval_metrics(*arguments, ks=ks)
            for direction, arguments in directions.items()
        }
    )


def two_way_retrieval_from_scores(
    scores: np.ndarray,
    image_of_text: Sequence[int],
    ks: Sequence[int] = (1, 5, 10),
    names: tuple[str, str] = ("image", "text"),
) -> dict[str, float]:
    """As `two_way_retrieval`, of a model that scores pairs and has no vectors.

    Scores that differ by less than 1e-6 are tied, and count as there; where the
    largest score is above 1, by less than 1e-6 of it.

    Args:
        scores: float array `(num_images, num_texts)`; higher is better.
        image_of_text: Row of each text's image. Every image has a text.
        ks: Numbers of first candidates to look at.
        names: What rows and columns are called.

    Returns:
        dict, as `two_way_retrieval`.

    Raises:
        ValueError: As `retrieval_metrics`.

    Example:
        >>> scores = np.array([[3.0, 1.0], [2.0, -4.0]])
        >>> metrics = kmmft.metrics.two_way_retrieval_from_scores(scores, [0, 1], (1,))
        >>> metrics["image_to_text/recall_at_1"], metrics["text_to_image/recall_at_1"]
        (0.5, 0.5)
    """
    scores = np.asarray(scores, np.float32)
    if scores.ndim != 2 or not scores.size or not np.all(np.isfinite(scores)):
        raise ValueError(
            "`scores` must be finite numbers (num_images, num_texts). Received: shape "
            f"{scores.shape}, {np.sum(~np.isfinite(scores))} of them not finite. Look "
            "at the loss."
        )
    scores = scores / max(1.0, np.abs(scores).max())
    images = np.arange(len(scores))
    first, second = names
    directions = {
        f"{first}_to_{second}": (scores, images, image_of_text),
        f"{second}_to_{first}": (scores.T, image_of_text, images),
    }
    return _with_mean_recall(
        {
            # A row's product with a candidate of a one and zeros is its score.
            direction: _compare(
                rows, np.eye(rows.shape[1], dtype=np.float32), *groups, ks, 2048
            )
            for direction, (rows, *groups) in directions.items()
        }
    )


def _with_mean_recall(directions: dict[str, dict[str, float]]) -> dict[str, float]:
    metrics = {
        f"{direction}/{name}": value
        for direction, values in directions.items()
        for name, value in values.items()
    }
    recalls = [value for name, value in metrics.items() if "/recall_at_" in name]
    return {**metrics, "mean_recall": float(np.mean(recalls))}


def _compare(
    queries, candidates, query_group, candidate_group, ks, chunk_size
) -> dict[str, float]:
    _check_counts(ks, len(candidates), chunk_size)
    right = RightCandidates(
        _groups("query_group", query_group, len(queries)),
        _groups("candidate_group", candidate_group, len(candidates)),
    )
    lonely = np.flatnonzero(right.count == 0)
    if lonely.size:
        raise ValueError(
            "Every query must have a candidate of its group. Received: none for "
            f"{lonely.size} queries, the first is row {lonely[0]} of group "
            f"{query_group[lonely[0]]}. Leave these queries out."
        )
    ranks = rank_right_candidates(queries, candidates, right, chunk_size)
    first = ranks.first_rank()
    return {
        **{f"recall_at_{k}": float(ranks.hit_within(k).mean()) for k in ks},
        "median_rank": float(np.median(first)),
        "mean_rank": float(first.mean()),
        "mean_average_precision": float(ranks.average_precision.mean()),
    }


def _groups(name: str, groups: Sequence[int], length: int) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != (length,) or groups.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must hold one int for each of {length} vectors. Received: "
            f"shape {groups.shape}, {groups.dtype}. Number the groups."
        )
    return groups


def _check_counts(ks: Sequence[int], num_candidates: int, chunk_size: int) -> None:
    if not ks or any(int(k) != k or not 1 <= k <= num_candidates for k in ks):
        raise ValueError(
            "`ks` must be whole numbers from 1 to the number of candidates, "
            f"{num_candidates}. Received: ks={tuple(ks)}. Pass smaller ones, such as "
            "ks=(1,)."
        )
    if chunk_size < 1:
        raise ValueError(
            f"`chunk_size` must be positive. Received: chunk_size={chunk_size}."
        )
