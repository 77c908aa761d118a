import numpy as np
import pytest

from kmmft.metrics import CiderD, CiderReward

REFERENCES = {5: ["a red cat", "the cat"], -9: ["a blue dog."], 7: ["a red dog sits"]}
TEXTS = ["a red cat", "a dog", "a red dog with a", ""]
KEYS = np.array([5, -9, 7, 7])


def test_the_end_is_a_word_of_texts_that_came_to_it():
    ended = np.array([True, True, False, True])
    reward = CiderReward(REFERENCES)
    spelt = [[f"{text.rstrip('.')} zzz" for text in own] for own in REFERENCES.values()]
    texts = [
        text + " zzz" if end else text for text, end in zip(TEXTS, ended, strict=True)
    ]
    expected = CiderD(spelt).scores(texts, [spelt[0], spelt[1], spelt[2], spelt[2]])
    np.testing.assert_allclose(reward(TEXTS, ended, KEYS), expected, atol=1e-12)
    # Cut short it earns less than when it ends there.
    whole = reward(["a red cat"] * 2, [True, False], [5, 5])
    assert whole[0] > whole[1] > 0


def test_unknown_key():
    with pytest.raises(ValueError, match="Received: 6, of none of 3 examples"):
        CiderReward(REFERENCES)(["a"], [True], [6])
