import json
import os
import sys

import numpy as np
import pytest

from kmmft.evaluation import SearchIndex, nearest_rows
from tests.evaluation.towers import COLOURS, ColourModel

NAMES = [*COLOURS]


def vectors(number, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(number, dim)).astype("f4")


@pytest.mark.parametrize("k", [1, 7, 50])
def test_as_sorting_the_whole_matrix(k, monkeypatch):
    monkeypatch.setattr(nearest_rows, "TILE_ROWS", 16)
    monkeypatch.setattr(nearest_rows, "CHUNK_QUESTIONS", 3)
    found, asked = vectors(50), vectors(10, seed=1)
    rows, scores = SearchIndex(found).search_rows(3 * asked, k)
    unit_found = found / np.linalg.norm(found, axis=1, keepdims=True)
    unit_asked = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    cosines = unit_asked @ unit_found.T
    expected = np.argsort(-cosines, axis=1)[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(
        scores, np.take_along_axis(cosines, expected, axis=1), atol=1e-6
    )


def test_of_equals_the_earlier_comes_first(monkeypatch):
    monkeypatch.setattr(nearest_rows, "TILE_ROWS", 2)
    index = SearchIndex(np.tile([1.0, 0.0], (7, 1)))
    rows, _ = index.search_rows([[1.0, 1.0]], 4)
    assert rows.tolist() == [[0, 1, 2, 3]]


def test_questions_in_words(tmp_path):
    model = ColourModel()
    index = SearchIndex.build(
        model,
        "text",
        [f"{name} dot" for name in NAMES],
        ids=NAMES,
        metadata=[{"caption": name.upper()} for name in NAMES],
    )
    (best,) = index.query(QueryModel(), k=1, text="something blue")
    assert (best.id, best.score) == ("blue", pytest.approx(1.0))
    assert best.metadata == {"caption": "BLUE"}
    # No more than there are.
    assert len(index.query(QueryModel(), text="red")) == 4
    with pytest.raises(ValueError, match=r"one modality.*\['image', 'text'\]"):
        index.query(QueryModel(), text="red", image=b"")


class QueryModel(ColourModel):
    def encode(self, modality, raw, batch_size=64):
        return super().encode(modality, raw, batch_size)


def test_saved_and_loaded(tmp_path):
    metadata = [{"caption": f"Bär {i}", "size": [i, 2]} for i in range(20)]
    index = SearchIndex(vectors(20), [f"é{i}" for i in range(20)], metadata)
    index.save(tmp_path / "a/index")
    loaded = SearchIndex.load(tmp_path / "a/index")
    assert isinstance(loaded.vectors, np.memmap)
    assert loaded.search(vectors(3), 5) == index.search(vectors(3), 5)
    assert sorted(os.listdir(tmp_path / "a/index"))[0] == "index.json"
    assert len(os.listdir(tmp_path / "a/index")) == 2


def test_added_and_saved_again_in_the_same_place(tmp_path):
    index = SearchIndex(vectors(4), list("abcd"))
    index.save(tmp_path)
    loaded = SearchIndex.load(tmp_path)
    loaded.add(vectors(2, seed=1), ["e", "f"], [{"n": 1}, {"n": 2}])
    loaded.save(tmp_path)
    again = SearchIndex.load(tmp_path)
    assert again.ids == list("abcdef") and again.metadata[-1] == {"n": 2}
    assert [hits[0].id for hits in again.search(vectors(2, seed=1), 1)] == ["e", "f"]
    assert len(os.listdir(tmp_path)) == 2
    with pytest.raises(ValueError, match="'a' twice"):
        again.add(vectors(1), ["a"])
    assert len(again) == 6


def test_a_kill_while_saving_leaves_the_old_index(tmp_path, monkeypatch):
    old = SearchIndex(vectors(4), list("abcd"))
    old.save(tmp_path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", killed)
    with pytest.raises(KeyboardInterrupt):
        SearchIndex(vectors(5, seed=1)).save(tmp_path)
    assert SearchIndex.load(tmp_path).ids == list("abcd")
    np.testing.assert_array_equal(SearchIndex.load(tmp_path).vectors, old.vectors)


@pytest.mark.parametrize("damage", ["nothing", "json", "vectors", "shape"])
def test_what_is_no_index(damage, tmp_path):
    SearchIndex(vectors(4)).save(tmp_path)
    (file,) = tmp_path.glob("*.npy")
    if damage == "nothing":
        (tmp_path / "index.json").unlink()
    elif damage == "json":
        (tmp_path / "index.json").write_text('{"vectors":')
    elif damage == "vectors":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        np.save(file, vectors(3))
    with pytest.raises(ValueError, match="an index that `save` wrote"):
        SearchIndex.load(tmp_path)


NOT_A_NUMBER = np.array([[1.0, 0.0], [np.nan, 0.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 4)),), "at least one"),
        ((np.zeros(4),), r"shape \(4,\)"),
        ((NOT_A_NUMBER,), "1 vectors that are not, the first in row 1"),
        ((vectors(3), ["a", "b", "a"]), "'a' twice"),
        ((vectors(3), ["a", "b"]), "3 vectors, 2 ids"),
        ((vectors(3), None, [{}]), "3 vectors, 3 ids, 1 dicts"),
    ],
)
def test_bad_contents(arguments, message):
    with pytest.raises(ValueError, match=message):
        SearchIndex(*arguments)


@pytest.mark.parametrize(
    ("asked", "k", "message"),
    [
        (vectors(1, dim=5), 1, "as wide as the index, 8"),
        (vectors(1), 4, "size of the index, 3. Received: k=4"),
        (vectors(1), 0, "Received: k=0"),
        (np.full((1, 8), np.inf), 1, "must be finite"),
        (vectors(1)[0], 1, r"shape \(8,\)"),
    ],
)
def test_bad_questions(asked, k, message):
    with pytest.raises(ValueError, match=message):
        SearchIndex(vectors(3)).search(asked, k)


def test_without_faiss_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install kmmft\[search\]"):
        SearchIndex(vectors(3), faiss="Flat")


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF4,Flat"])
def test_faiss(factory, tmp_path):
    pytest.importorskip("faiss")
    exact, asked = SearchIndex(vectors(400)), vectors(50, seed=1)
    SearchIndex(vectors(400), faiss=factory).save(tmp_path)
    rows, scores = SearchIndex.load(tmp_path).search_rows(asked, 5)
    expected_rows, expected_scores = exact.search_rows(asked, 5)
    if factory == "Flat":
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    else:
        found = [len({*a} & {*b}) for a, b in zip(rows, expected_rows, strict=True)]
        assert np.mean(found) > 0.3 * 5
