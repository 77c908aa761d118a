import pytest
import tensorflow as tf

from kmmft.encoders import learn_tokenizer
from kmmft.models import TokenTexts

TEXTS = ["Häuser am Meer", "Ein Haus, ein Meer…", "Über den Häusern"] * 5


def test_texts_come_back_through_the_graph():
    tokenizer = learn_tokenizer(TEXTS, 320)
    assert tokenizer.vocabulary_size() <= 320
    texts = TokenTexts(tokenizer, max_length=40)
    given = ["Häuser, ein Meer…", "Ωmega 🙂 <b>", ""]
    token_ids, mask = texts.pack(tf.constant(given))
    # A new seed throws away what was made eagerly.
    tf.random.set_seed(1)
    written = [text.decode() for text in texts.unpack(token_ids).numpy()]
    assert written == given
    assert texts.lengths(given).numpy().tolist() == mask.numpy().sum(1).tolist()
    assert mask.numpy().sum(1)[0] < len(given[0])


def test_the_same_texts_give_the_same_pieces():
    one, other = (learn_tokenizer(TEXTS, 320) for _ in range(2))
    assert one.get_vocabulary() == other.get_vocabulary()


@pytest.mark.parametrize(("texts", "size"), [([], 400), (TEXTS, 200)])
def test_nothing_to_learn(texts, size):
    with pytest.raises(ValueError, match="room for 300 pieces"):
        learn_tokenizer(texts, size)
