import pytest
import tensorflow as tf

from kmmft.data import Vocabulary, schema

from .conftest import write_records


@pytest.fixture(scope="module")
def labelled_directory(tmp_path_factory):
    texts = ["red", "blue", "red", "grün", "blue", "red", "alpha"]
    records = [{"id": f"{i}", "text": text, "label": 0} for i, text in enumerate(texts)]
    return write_records(
        tmp_path_factory.mktemp("labelled"),
        schema.labelled(image=False, class_names=["only"]),
        {"train": records},
    )


def test_lookup_and_names_are_inverse():
    vocabulary = Vocabulary(["no", "yes", "naïve"])
    strings = tf.constant([["yes", "naïve"], ["no", "no"]])
    ids = vocabulary.lookup(strings)
    assert ids.dtype == tf.int32 and ids.numpy().tolist() == [[1, 2], [0, 0]]
    assert (vocabulary.names(ids) == strings).numpy().all()


def test_unknown_string_is_named_or_given_an_id():
    lookup = tf.function(Vocabulary(["no", "yes"]).lookup)
    with pytest.raises(tf.errors.InvalidArgumentError, match="maybe"):
        lookup(tf.constant(["yes", "maybe"]))
    vocabulary = Vocabulary(["no", "yes"], unknown_id=2)
    assert vocabulary.lookup(tf.constant(["yes", "maybe"])).numpy().tolist() == [1, 2]
    assert vocabulary.lookup(tf.constant("no")).numpy() == 0


def test_by_frequency_then_alphabet(labelled_directory):
    built = Vocabulary.from_records(labelled_directory, "train", "text")
    assert built.entries == ["red", "blue", "alpha", "grün"]
    assert len(Vocabulary.from_records(labelled_directory, "train", "text", 2)) == 2
    with pytest.raises(ValueError, match="'answer'"):
        Vocabulary.from_records(labelled_directory, "train", "answer")


def test_sequences_count_each_string(toy_directory):
    built = Vocabulary.from_records(toy_directory, "train", "captions")
    assert built.entries == ["a picture"]


def test_load_or_build_saves_beside_the_data(labelled_directory):
    path = labelled_directory / "text.vocabulary.txt"
    built = Vocabulary.load_or_build(labelled_directory, "train", "text")
    assert path.read_text(encoding="utf-8").split() == built.entries
    Vocabulary(["other"]).save(path)
    again = Vocabulary.load_or_build(labelled_directory, "train", "text", unknown_id=7)
    assert again.entries == ["other"] and again.unknown_id == 7
    assert [one.name for one in labelled_directory.glob("*.temporary")] == []


def test_odd_entries_survive_saving(tmp_path):
    entries = ["", " spaces ", "a\u2028b", "tab\t"]
    Vocabulary(entries).save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt").entries == entries


def test_many_entries_keep_their_ids():
    entries = [f"answer {i}" for i in range(3000)]
    vocabulary = Vocabulary(entries, unknown_id=-1)
    assert vocabulary.lookup(tf.constant(entries)).numpy().tolist() == list(range(3000))
    others = tf.constant([f"other {i}" for i in range(3000)])
    assert (vocabulary.lookup(others) == -1).numpy().all()


@pytest.mark.parametrize("entries", [[], ["a", "a"], ["a\nb"]])
def test_entries_are_checked(entries):
    with pytest.raises(ValueError, match="Received"):
        Vocabulary(entries)


def test_exports_without_files(tmp_path):
    vocabulary = Vocabulary(["no", "yes"])
    module = tf.Module()
    module.round_trip = tf.function(
        lambda strings: vocabulary.names(vocabulary.lookup(strings)),
        input_signature=[tf.TensorSpec((None,), tf.string)],
    )
    tf.saved_model.save(module, tmp_path / "model")
    loaded = tf.saved_model.load(tmp_path / "model")
    assert loaded.round_trip(tf.constant(["yes"])).numpy().tolist() == [b"yes"]
    assert not list((tmp_path / "model" / "assets").glob("*"))
