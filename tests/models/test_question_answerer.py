import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import QuestionAnswerer
from kmmft.models.answer_spans import answer_places, choose_windows

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "?", "an", "##na", "."]
WORDS += [str(number) for number in range(30)]
LENGTH = 12


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    encoder = kmmft.encoders.TextPairEncoder(
        keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length=LENGTH,
    )
    return QuestionAnswerer(encoder, window_overlap=3, max_question_tokens=3)


def batch(model, context, answer, start, draw=(0.0, 0.0)):
    answers = [answer] if answer else []
    record = {
        "question": tf.constant("Who?"),
        "context": tf.constant(context),
        "answers": tf.constant(answers, tf.string),
        "answer_starts": tf.constant([start] if answer else [], tf.int64),
    }
    prepared = {**model.prepare_record(record), "draw": tf.constant(draw)}
    return {name: value[None] for name, value in prepared.items()}


def tokens(ids):
    return [WORDS[number] for number in np.ravel(ids)]


def test_an_answer_stands_at_its_tokens(model):
    # Characters, not bytes: the first word is four bytes long.
    inputs, places = model.prepare_batch(batch(model, "日x 5 Anna.", "Anna", 5))
    row = ["[CLS]", "who", "?", "[SEP]", "[UNK]", "[UNK]", "5", "an", "##na", "."]
    assert tokens(inputs["token_ids"]) == [*row, "[SEP]", "[PAD]"]
    np.testing.assert_array_equal(places, [[7, 8]])
    np.testing.assert_array_equal(inputs["segment_ids"], [[0] * 4 + [1] * 7 + [0]])


def test_parts_of_words_stand_for_the_words_and_none_for_the_first_token(model):
    _, places = model.prepare_batch(batch(model, "1 Anna. 2", "nna. 2", 3))
    np.testing.assert_array_equal(places, [[5, 8]])
    _, places = model.prepare_batch(batch(model, "1 Anna. 2", "", 0))
    np.testing.assert_array_equal(places, [[0, 0]])


LONG = " ".join(str(number) for number in range(20))


def test_windows_cover_the_context_and_overlap(model):
    windows = model.windows
    contexts = windows.tokenise(tf.constant(["Who?"] * 3), tf.constant([LONG, "1", ""]))
    # 12 tokens without the question and four special ones: 7 a window, 4 apart.
    assert contexts.starts.to_list() == [[0, 4, 8, 12, 16], [0], [0]]
    packed = windows.pack(contexts, contexts.starts)
    assert packed.example.numpy().tolist() == [0] * 5 + [1, 2]
    rows = packed.packed.token_ids.numpy()
    assert tokens(rows[1][4:]) == ["4", "5", "6", "7", "8", "9", "10", "[SEP]"]
    np.testing.assert_array_equal(packed.word[1], [-1] * 4 + [*range(4, 11), -1])
    np.testing.assert_array_equal(
        packed.word[4], [-1] * 4 + [*range(16, 20)] + [-1] * 4
    )
    assert not packed.is_first.numpy()[6].any() and packed.is_last.numpy()[5].sum() == 1


@pytest.mark.parametrize(
    ("draw", "start", "places"),
    [
        # "9" is in the windows from 4 and from 8.
        ((0.0, 0.0), 4, [9, 9]),
        ((0.79, 0.6), 8, [5, 5]),
        ((0.81, 0.0), 0, [0, 0]),
        ((0.81, 0.99), 16, [0, 0]),
    ],
)
def test_windows_are_drawn(model, draw, start, places):
    one = batch(model, LONG, "9", LONG.index("9"), draw)
    contexts = model.windows.tokenise(one["question"], one["context"])
    spans = answer_places(contexts, one["context"], one["answer"], one["answer_start"])
    assert choose_windows(contexts, spans, one["draw"]).numpy() == [start]
    _, found = model.prepare_batch(one)
    np.testing.assert_array_equal(found, [places])


def test_the_best_answer_is_the_best_of_all_windows_and_spans(model):
    contexts = [LONG, "1 Anna. 2", "..."]
    found = model.answer(["Who?"] * 3, contexts)
    for row, text in enumerate(contexts):
        best, silence = by_hand(model, text)
        assert found["best_text"][row] == found["text"][row] == best
        assert found["no_answer_probability"][row] == pytest.approx(silence, abs=1e-5)
        start = found["start"][row]
        assert text.encode()[start : start + len(best)].decode() == best


def by_hand(model, context):
    """All windows, one by one, and all spans of whole words in each."""
    words = [word for word in context.replace(".", " . ").split()]
    pieces = [["an", "##na"] if word == "Anna" else [word] for word in words]
    flat = [(piece, n) for n, word in enumerate(pieces) for piece in word]
    best, silences = (-np.inf, None), []
    for start in range(0, max(len(flat) - 7, 0) + 4, 4):
        part = flat[start : start + 7]
        row = ["[CLS]", "who", "?", "[SEP]", *(piece for piece, _ in part), "[SEP]"]
        row += ["[PAD]"] * (LENGTH - len(row))
        ids = np.array([[WORDS.index(word) for word in row]])
        mask = ids > 0
        segments = mask * (np.arange(LENGTH) > 3)
        inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": segments}
        first, last = model(inputs).numpy()[0]
        silences.append(first[0] + last[0])
        for i, (piece, begin) in enumerate(part):
            for j, (end_piece, end) in enumerate(part[i:], i):
                whole = not piece.startswith("##") and end_piece != "an"
                if whole and first[4 + i] + last[4 + j] > best[0]:
                    best = first[4 + i] + last[4 + j], (begin, end)
    begin, end = best[1]
    text = " ".join(words[begin : end + 1]) if "." not in context else None
    if text is None:
        places, at = [], 0
        for word in words:
            at = context.index(word, at)
            places.append((at, at + len(word)))
            at += len(word)
        text = context[places[begin][0] : places[end][1]]
    return text, 1 / (1 + np.exp(best[0] - min(silences)))


def test_no_words_no_answer_and_threshold(model):
    found = model.answer(["Who?", "", "who"], ["", "  ", "1"])
    assert found["text"].tolist() == ["", "", "1"]
    np.testing.assert_array_equal(found["no_answer_probability"][:2], [1.0, 1.0])
    model.no_answer_threshold = 0.0
    found = model.answer(["Who?"] * 3, ["1"] * 3)
    model.no_answer_threshold = 1.0
    assert found["text"].tolist() == [""] * 3
    assert found["best_text"].tolist() == ["1"] * 3


def test_saved_and_served_model_answer_alike(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    served = loaded.serving_functions()["answer"]
    answers = tf.function(served.function)(
        question=tf.constant(["Who?"] * 3), context=tf.constant([LONG, "Anna.", ""])
    )
    here = model.answer(["Who?"] * 3, [LONG, "Anna.", ""])
    assert [text.decode() for text in answers["text"].numpy()] == list(here["text"])
    np.testing.assert_allclose(
        answers["no_answer_probability"], here["no_answer_probability"], atol=1e-6
    )


def test_bad_arguments(model):
    with pytest.raises(ValueError, match=r"same number.*'question': 1, 'context': 0"):
        model.answer(["a"], [])
    with pytest.raises(ValueError, match=r"one string for \['question', 'context'\]"):
        model.answer("red", "dog")
    with pytest.raises(ValueError, match="less than 9, what a window holds"):
        QuestionAnswerer(model.encoder, max_question_tokens=9)
    with pytest.raises(ValueError, match="from 0 to 1"):
        QuestionAnswerer(model.encoder, 3, 3, no_answer_threshold=2.0)
    encoder = kmmft.encoders.TextEncoder(
        model.encoder.backbone, model.encoder.tokenizer, LENGTH
    )
    with pytest.raises(ValueError, match=r"Received: TextEncoder\. Give it a"):
        QuestionAnswerer(encoder)
