"""Searches over a small language made of random numbers, against all its texts."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kmmft.models import BeamSearch, Greedy, Sampling

WORDS, LENGTH, START, END = 5, 5, 0, 1
ROWS = 6
# Logits of the next word by row, place and last word.
TABLE = np.random.default_rng(3).normal(size=(ROWS, LENGTH, WORDS, WORDS), scale=1.5)
LOG_P = (TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))).astype("f4")


def step(token_ids, index, memory, cache):
    """The next word depends on the last one, and on a count that the cache keeps."""
    logits = tf.gather(memory, index, axis=1)
    logits = tf.gather(logits, token_ids[:, 0], batch_dims=1)
    (sums,) = cache
    sums = sums + tf.cast(token_ids, tf.float32)
    bonus = tf.one_hot(tf.cast(sums[:, 0], tf.int32) % WORDS, WORDS)
    return logits + bonus, [sums]


def write(search, seed=0, rows=ROWS):
    first = tf.constant([[START] + [2] * (LENGTH - 1)] * rows)
    memory = tf.constant(np.resize(LOG_P, (rows, LENGTH, WORDS, WORDS)))
    cache = [tf.zeros((rows, 1))]
    return search(step, memory, cache, first, END, tf.constant(seed)).numpy()


def log_probabilities(row, words):
    """Of each next word after a beginning, by the rules of `step` in NumPy."""
    logits = LOG_P[row, len(words) - 1, words[-1]] + np.eye(WORDS)[sum(words) % WORDS]
    return logits - np.log(np.exp(logits).sum())


def every_text(row):
    """All texts of a row with their log probability, cut at the greatest length."""
    for count in range(1, LENGTH):
        for words in itertools.product(range(WORDS), repeat=count):
            cut = count == LENGTH - 1
            if END in words[:-1] or not (cut or words[-1] == END):
                continue
            written, total = [START], 0.0
            for word in words:
                total += log_probabilities(row, written)[word]
                written.append(word)
            yield tuple(written), total


@pytest.mark.parametrize("penalty", [0.0, 0.6, 3.0])
def test_a_wide_beam_finds_the_best_of_all_texts(penalty):
    found = write(BeamSearch(num_beams=WORDS**3, length_penalty=penalty))
    lengths = set()
    for row in range(ROWS):
        best, _ = max(
            every_text(row),
            key=lambda text: text[1] / ((5 + len(text[0]) - 1) / 6) ** penalty,
        )
        assert tuple(found[row, : len(best)]) == best
        lengths.add(len(best))
    assert len(lengths) > 1 or penalty == 3.0


def test_a_penalty_makes_texts_longer():
    def mean_length(penalty):
        found = write(BeamSearch(WORDS**3, penalty))
        ends = np.where(found[:, 1:] == END, np.arange(1, LENGTH), LENGTH)
        return ends.min(1).mean()

    assert mean_length(3.0) > mean_length(0.0)


def beam_in_python(row, beams):
    """A narrow beam, word by word, that leaves the loop with the best finished text."""
    alive, finished = [((START,), 0.0)], []
    for place in range(1, LENGTH):
        grown = [
            ((*words, word), total + log_probabilities(row, words)[word])
            for words, total in alive
            for word in range(WORDS)
        ]
        grown = sorted(grown, key=lambda text: -text[1])[: 2 * beams]
        done = [t for t in grown if t[0][-1] == END or place == LENGTH - 1]
        alive = [t for t in grown if t not in done][:beams]
        finished += [(words, total / ((5 + place) / 6) ** 0.6) for words, total in done]
    return max(finished, key=lambda text: text[1])[0]


@pytest.mark.parametrize("beams", [1, 2])
def test_narrow_beams_equal_a_search_in_python(beams):
    found = write(BeamSearch(beams, 0.6))
    for row in range(ROWS):
        best = beam_in_python(row, beams)
        assert tuple(found[row, : len(best)]) == best


@pytest.mark.parametrize("search", [BeamSearch(3, 1.0), Greedy(), Sampling(top_k=2)])
def test_a_second_start_token_changes_no_word(search):
    """The same language, in texts that begin with a token more."""

    def later(token_ids, index, memory, cache):
        return step(token_ids, index - 1, memory, cache)

    first = tf.constant([[4, START] + [2] * (LENGTH - 1)] * ROWS)
    cache = [tf.zeros((ROWS, 1))]
    found = search(
        later, tf.constant(LOG_P), cache, first, END, tf.constant(0), given=2
    )
    alone = write(search)
    if not search.draws:  # what is drawn depends on the place
        for two, one in zip(found.numpy()[:, 1:], alone, strict=True):
            count = [*one[1:].tolist(), END].index(END) + 2
            assert two[:count].tolist() == one[:count].tolist()
    assert np.all(found[:, :2] == [4, START])


def test_greedy_takes_the_likeliest_word():
    found = write(Greedy())
    for row in range(ROWS):
        words = [START]
        while len(words) < LENGTH and words[1:][-1:] != [END]:
            words.append(int(log_probabilities(row, words).argmax()))
        assert found[row, : len(words)].tolist() == words


def until_end(texts):
    behind = np.cumsum(texts == END, axis=1) - (texts == END) > 0
    return np.where(behind, -1, texts)


@pytest.mark.parametrize("search", [Sampling(top_k=1), Sampling(top_p=1e-6)])
def test_drawing_from_one_word_is_greedy(search):
    np.testing.assert_array_equal(until_end(write(search)), until_end(write(Greedy())))


def test_draws_follow_the_distribution():
    rows = 600 * ROWS
    drawn = write(Sampling(temperature=2.0), rows=rows)[:, 1].reshape(-1, ROWS)
    for row in range(ROWS):
        p = np.exp(log_probabilities(row, [START]) / 2.0)
        share = np.bincount(drawn[:, row], minlength=WORDS) / len(drawn)
        np.testing.assert_allclose(share, p / p.sum(), atol=0.08)


def test_only_the_head_is_drawn():
    rows = 200 * ROWS
    by_number = write(Sampling(top_k=2), rows=rows)[:, 1].reshape(-1, ROWS)
    by_share = write(Sampling(top_p=0.6), rows=rows)[:, 1].reshape(-1, ROWS)
    for row in range(ROWS):
        p = np.exp(log_probabilities(row, [START]))
        order = np.argsort(-p)
        assert set(by_number[:, row]) == set(order[:2])
        count = int((np.cumsum(p[order]) < 0.6).sum()) + 1
        assert set(by_share[:, row]) <= set(order[:count])


@pytest.mark.parametrize("top_p", [None, 0.9])
def test_more_words_than_there_are_is_all_of_them(top_p):
    np.testing.assert_array_equal(
        write(Sampling(50, top_p)), write(Sampling(WORDS, top_p))
    )


def test_a_seed_gives_the_same_texts_in_a_graph_too():
    search = Sampling(top_p=0.9)
    one = write(search, seed=7)
    np.testing.assert_array_equal(one, write(search, seed=7))
    assert (one != write(search, seed=8)).any()
    in_graph = tf.function(lambda seed: write_in_graph(search, seed), autograph=False)
    np.testing.assert_array_equal(one, in_graph(tf.constant(7)))


def write_in_graph(search, seed):
    first = tf.constant([[START] + [2] * (LENGTH - 1)] * ROWS)
    cache = [tf.zeros((ROWS, 1))]
    return search(step, tf.constant(LOG_P), cache, first, END, seed)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BeamSearch(0), "`num_beams` must be a whole number from 1"),
        (lambda: BeamSearch(2.5), "`num_beams` must be a whole number from 1"),
        (lambda: BeamSearch(2, -1.0), "not negative"),
        (lambda: BeamSearch(2, float("inf")), "finite and not negative.*inf"),
        (lambda: Sampling(top_k=0), "must be a whole number from 1"),
        (lambda: Sampling(top_k=2.5), "must be a whole number from 1.*2.5"),
        (lambda: Sampling(top_p=1.5), r"`top_p` must be in \(0, 1\]"),
        (lambda: Sampling(temperature=0.0), "must be positive"),
        (lambda: Sampling(temperature=float("nan")), "must be positive.*nan"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "search", [Greedy(), BeamSearch(3, 0.1), Sampling(2, 0.5, 0.7)], ids=repr
)
def test_settings_come_back_from_a_config(search):
    again = type(search).from_config(search.get_config())
    assert repr(again) == repr(search)
