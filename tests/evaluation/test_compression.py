import numpy as np
import pytest

from kmmft.evaluation import (
    Compression,
    SearchIndex,
    compression,
    compression_recall,
    nearest_rows,
)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def clustered(number, dim=64, clusters=20, seed=0):
    """Vectors about common means, as those of images are, and questions."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(clusters, dim))
    spread = 0.5 * random.normal(size=(number, dim))
    vectors = unit(centers[random.integers(0, clusters, number)] + spread)
    return vectors.astype("f4"), unit(vectors[:40] + 0.03 * spread[-40:]).astype("f4")


def compressed(vectors, kind):
    """In NumPy, all at once."""
    if kind == "int8":
        scale = np.abs(vectors).max(axis=1, keepdims=True) / 127
        return np.rint(vectors / scale) * scale
    if kind == "binary":
        return np.sign(vectors) / np.sqrt(vectors.shape[1])
    return vectors


@pytest.mark.parametrize("kind", compression.KINDS)
@pytest.mark.parametrize("dim", [None, 17])
@pytest.mark.parametrize("rescore", [0, 3])
def test_as_numpy(kind, dim, rescore, monkeypatch):
    for module in (nearest_rows, compression):
        monkeypatch.setattr(module, "TILE_ROWS", 64)
    vectors, questions = clustered(200)
    index = SearchIndex(vectors, compression=Compression(kind, dim, rescore))
    rows, scores = index.search_rows(questions, 5)
    codes = compressed(unit(vectors[:, :dim]), kind)
    expected = unit(questions[:, :dim]) @ codes.T
    for number, (found, score) in enumerate(zip(rows, scores, strict=True)):
        order = np.argsort(-expected[number], kind="stable")
        own = expected[number]
        if rescore:
            own = vectors @ questions[number]
            order = sorted(order[: 5 * rescore], key=lambda row: -own[row])
        np.testing.assert_allclose(score, own[order[:5]], atol=1e-5)
        np.testing.assert_allclose(own[found], score, atol=1e-5)


def test_bytes_and_recall():
    vectors, questions = clustered(4000)
    kinds = [
        Compression("int8", rescore=0),
        Compression("binary", rescore=0),
        Compression("binary", rescore=16),
        Compression(dim=16, rescore=0),
    ]
    int8, binary, rescored, short = compression_recall(vectors, questions, kinds)
    assert int8 > 0.95
    # Within a cluster, signs alone tell little.
    assert binary < 0.5 < 0.95 < rescored
    assert short < rescored
    sizes = [compression.CompressedRows(vectors, kind).nbytes for kind in kinds]
    assert sizes == [4000 * 68, 4000 * 8, 4000 * 8, 4000 * 64]


def test_an_index_keeps_its_compression(tmp_path):
    vectors, questions = clustered(100)
    index = SearchIndex(vectors[:90], compression=Compression("binary", 32, 2))
    index.add(vectors[90:], [f"new {row}" for row in range(10)])
    index.save(tmp_path)
    loaded = SearchIndex.load(tmp_path)
    assert loaded.compression == Compression("binary", 32, 2)
    for found, expected in zip(
        loaded.search_rows(questions, 3), index.search_rows(questions, 3), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_what_is_wrong_is_named():
    vectors, questions = clustered(10)
    with pytest.raises(ValueError, match=r"one of float32.*Received: 'int4'"):
        Compression("int4")
    with pytest.raises(ValueError, match="rescore=-1"):
        Compression(rescore=-1)
    with pytest.raises(ValueError, match=r"at most the width, 64. Received: dim=65"):
        SearchIndex(vectors, compression=Compression(dim=65))
    with pytest.raises(ValueError, match="Either `faiss` or `compression`"):
        SearchIndex(vectors, faiss="Flat", compression=Compression("int8"))
    with pytest.raises(ValueError, match="number of vectors, 10"):
        compression_recall(vectors, questions, [Compression()], k=11)
