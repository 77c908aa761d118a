"""SavedModels as trainable layers and as encoders."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import (
    ByteStrings,
    ImageEncoder,
    SavedModelLayer,
    TextEncoder,
    handles,
)

TEXTS = ["cat dog", "", "zürich", "bird"]


class TextModule(tf.Module):
    """As TF Hub's: words -> table -> mean of embeddings; training adds 1."""

    def __init__(self):
        super().__init__()
        words = tf.constant(["cat", "dog", "zürich"])
        values = tf.range(3, dtype=tf.int64)
        self.table = tf.lookup.StaticVocabularyTable(
            tf.lookup.KeyValueTensorInitializer(words, values), num_oov_buckets=1
        )
        embedding = np.arange(8, dtype="float32").reshape(4, 2)
        self.embedding = tf.Variable(embedding, name="scope/embedding")
        self.offset = tf.Variable([0.0, 0.0], trainable=False, name="offset")
        self.regularization_losses = [self.regularization]

    @tf.function(input_signature=[])
    def regularization(self):
        return 0.1 * tf.reduce_sum(self.embedding**2)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.bool)]
    )
    def __call__(self, texts, training):
        ids = self.table.lookup(tf.strings.split(texts))
        vectors = tf.gather(self.embedding, ids)
        return tf.reduce_sum(vectors, 1) + self.offset + tf.cast(training, tf.float32)


class ImageModule(tf.Module):
    def __init__(self):
        super().__init__()
        kernel = np.random.default_rng(0).normal(size=(4, 4, 3, 5))
        self.kernel = tf.Variable(kernel.astype("float32"), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def __call__(self, images):
        maps = tf.nn.conv2d(images, self.kernel, 4, "SAME")
        return {"maps": maps, "vector": tf.reduce_mean(maps, [1, 2])}


def test_variables_of_one_name_are_told_apart(tmp_path):
    module = tf.Module()
    module.parts = [tf.Variable(float(number), name="w") for number in range(3)]
    module.__class__ = type(
        "Sum",
        (tf.Module,),
        {
            "__call__": tf.function(
                lambda self, x: x + tf.add_n(self.parts),
                input_signature=[tf.TensorSpec([None])],
            )
        },
    )
    tf.saved_model.save(module, tmp_path / "sum")
    layer = SavedModelLayer(str(tmp_path / "sum"))
    assert layer(tf.zeros(1)).numpy() == 3
    assert len({weight.path for weight in layer.weights}) == 3


@pytest.fixture(scope="module")
def text_directory(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("text_module"))
    tf.saved_model.save(TextModule(), path)
    return path


@pytest.fixture(scope="module")
def image_directory(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("image_module"))
    tf.saved_model.save(ImageModule(), path)
    return path


def expected(embedding):
    zero = np.zeros(2)
    return [embedding[0] + embedding[1], zero, embedding[2], embedding[3]]


def test_bytes_become_the_strings_again():
    texts = ["cat dog", "", "zürich ☃", "12345678901234567890"]
    data = [text.encode() for text in texts]
    token_ids = np.array([list(text.ljust(12, b"x")[:12]) for text in data])
    mask = np.arange(12)[None] < np.array([[len(text)] for text in data])
    strings = ByteStrings()(token_ids, mask).numpy()
    assert [s.decode() for s in strings] == [*texts[:3], texts[3][:12]]
    cut = ByteStrings()(token_ids[2:3, :2], mask[2:3, :2]).numpy()
    assert cut[0] == b"z"  # half of the ü is left out


def test_text_encoder(text_directory):
    encoder = TextEncoder.from_saved_model(text_directory, max_bytes=16)
    inputs = encoder.preprocess(TEXTS)
    assert inputs["token_ids"].shape == (4, 16)
    outputs = encoder(inputs)
    want = expected(np.arange(8).reshape(4, 2))
    np.testing.assert_allclose(outputs["pooled"], want)
    np.testing.assert_allclose(outputs["tokens"][:, 0], want)
    np.testing.assert_array_equal(outputs["mask"][:, 0], [True, False, True, True])
    assert len(encoder.trainable_variables) == 1
    assert len(encoder.non_trainable_variables) == 1
    np.testing.assert_allclose(
        encoder(inputs, training=True)["pooled"], want + np.array(1)
    )


def test_frozen_means_inference_too(text_directory):
    encoder = TextEncoder.from_saved_model(text_directory, 16, trainable=False)
    inputs = encoder.preprocess(TEXTS)
    assert encoder.trainable_variables == []
    want = expected(np.arange(8).reshape(4, 2))
    np.testing.assert_allclose(encoder(inputs, training=True)["pooled"], want)
    assert encoder.losses == []


class Prebuilt(keras.Model):
    """Under a strategy Keras 3.15 sums a batch to learn its shapes; masks are bool."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        pass


def classifier(directory, model_class=keras.Model):
    encoder = TextEncoder.from_saved_model(directory, max_bytes=16)
    outputs = keras.layers.Dense(1, kernel_initializer="ones")(encoder.output["pooled"])
    model = model_class(encoder.input, outputs)
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return encoder, model


def data(encoder):
    inputs = {key: value.numpy() for key, value in encoder.preprocess(TEXTS).items()}
    dataset = tf.data.Dataset.from_tensor_slices((inputs, np.ones((4, 1), "float32")))
    return dataset.batch(4, drop_remainder=True)


def test_fit_trains_the_module_and_files_keep_it(text_directory, tmp_path):
    encoder, model = classifier(text_directory)
    before = encoder.trainable_variables[0].numpy()
    history = model.fit(data(encoder), epochs=3, verbose=0)
    after = encoder.trainable_variables[0].numpy()
    assert np.all(np.abs(after - before) > 0.01)
    assert history.history["loss"][-1] < history.history["loss"][0]
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    inputs = loaded.preprocess(TEXTS)
    np.testing.assert_allclose(loaded(inputs)["pooled"], encoder(inputs)["pooled"])
    np.testing.assert_allclose(loaded(inputs)["pooled"], expected(after), atol=1e-6)
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    fresh = TextEncoder.from_saved_model(text_directory, max_bytes=16)
    fresh.load_weights(tmp_path / "encoder.weights.h5")
    np.testing.assert_allclose(fresh(inputs)["pooled"], encoder(inputs)["pooled"])


def test_two_replicas_train_as_one(text_directory, two_replicas):
    encoder, model = classifier(text_directory)
    model.fit(data(encoder), epochs=2, verbose=0)
    alone = encoder.trainable_variables[0].numpy()
    with two_replicas.scope():
        encoder, model = classifier(text_directory, Prebuilt)
        model.optimizer.build(model.trainable_variables)
    model.fit(data(encoder), epochs=2, verbose=0)
    np.testing.assert_allclose(encoder.trainable_variables[0].numpy(), alone, atol=1e-5)


def test_image_encoder(image_directory):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    kernel = ImageModule().kernel
    maps = tf.nn.conv2d(pixels / 255.0, kernel, 4, "SAME")
    encoder = ImageEncoder.from_saved_model(image_directory, 8, output_key="maps")
    outputs = encoder(pixels)
    np.testing.assert_allclose(
        outputs["tokens"], np.reshape(maps, (2, 4, 5)), atol=1e-5
    )
    encoder = ImageEncoder.from_saved_model(image_directory, 8, output_key="vector")
    vector = encoder(pixels)
    np.testing.assert_allclose(vector["pooled"], outputs["pooled"], atol=1e-5)
    assert vector["tokens"].shape == (2, 1, 5)
    assert (
        ImageEncoder.from_preset(image_directory, 8, output_key="maps").output_dim == 5
    )


def test_what_does_not_fit_is_named(image_directory, tmp_path):
    with pytest.raises(ValueError, match=r"must be a SavedModel directory.*Received"):
        SavedModelLayer(str(tmp_path))
    with pytest.raises(ValueError, match=r"`output_key` must be one of.*maps"):
        ImageEncoder.from_saved_model(image_directory, 8)
    with pytest.raises(ValueError, match="`signature` must be one of"):
        SavedModelLayer(image_directory, signature="classify")


@pytest.mark.parametrize(
    "handle",
    [
        "kaggle://google/nnlm/tensorFlow2/en-dim50/1",
        "https://www.kaggle.com/models/google/nnlm/frameworks/tensorFlow2/"
        "variations/en-dim50/versions/1",
        "https://tfhub.dev/google/nnlm-en-dim50/2",
    ],
)
def test_addresses_lead_to_kaggle(handle, monkeypatch, image_directory):
    class Response:
        url = "https://www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim50/1?x=1"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    asked = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: Response())
    monkeypatch.setattr(
        "kagglehub.model_download", lambda h: asked.append(h) or image_directory
    )
    assert handles.saved_model_directory(handle) == image_directory
    assert asked == ["google/nnlm/tensorFlow2/en-dim50/1"]


def test_a_download_that_fails_is_one_line(monkeypatch):
    def fail(handle):
        raise ConnectionError("no network\nand forty lines more")

    monkeypatch.setattr("kagglehub.model_download", fail)
    with pytest.raises(ValueError, match=r"'kaggle://a/b/c/d'.*no network") as caught:
        SavedModelLayer("kaggle://a/b/c/d")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.parametrize("encoder", [ImageEncoder, TextEncoder])
def test_an_unknown_preset_is_one_line(encoder):
    with pytest.raises(ValueError, match="Received: 'no_such_preset'") as caught:
        encoder.from_preset("no_such_preset")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
