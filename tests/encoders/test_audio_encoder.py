import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import AudioEncoder, SoundBackbone, SpeechEncoder
from kmmft.finetuning import layer_depths
from kmmft.layers import LogMel, SpecAugment
from tests.data.sounds import sound_file, tone
from tests.layers.references import randomize

MELS = 16


def whisper():
    return keras_hub.models.WhisperBackbone(
        9, 2, 2, 8, 16, num_mels=MELS, max_encoder_sequence_length=60
    )


def moonshine():
    return keras_hub.models.MoonshineBackbone(9, 8, 1, 1, 8, 16, 2, 2)


@pytest.fixture(scope="module")
def backbones():
    return {"whisper": whisper(), "moonshine": moonshine()}


@pytest.fixture(scope="module")
def encoders(backbones):
    scratch = AudioEncoder.from_scratch(
        0.5, LogMel(num_mels=MELS), (4, 4), 8, num_layers=1, num_heads=2
    )
    randomize(scratch)
    return {
        "whisper": AudioEncoder.from_backbone(backbones["whisper"], 0.5),
        "moonshine": AudioEncoder.from_backbone(backbones["moonshine"], 0.5),
        "scratch": scratch,
    }


KINDS = ["whisper", "moonshine", "scratch"]
# A quarter of a second, and more than there is room for.
SHORT, LONG = sound_file(tone(samples=4000)), sound_file(tone(samples=20000))


@pytest.mark.parametrize("kind", KINDS)
def test_contract(encoders, kind):
    encoder = encoders[kind]
    inputs = encoder.preprocess(tf.constant([SHORT, LONG]))
    outputs = encoder(inputs)
    dim, tokens = encoder.output_dim, outputs["tokens"].shape[1]
    assert outputs["pooled"].shape == (2, dim) == (2, 8)
    assert outputs["tokens"].shape == (2, tokens, 8)
    mask = np.asarray(outputs["mask"])
    assert mask.dtype == bool and mask.shape == (2, tokens) and mask[1].all()
    # Real tokens first, and about half of them.
    count = mask[0].sum()
    assert abs(count / tokens - 0.5) < 0.1 and mask[0, :count].all()
    for row in range(2):
        expected = np.asarray(outputs["tokens"])[row][mask[row]].mean(axis=0)
        np.testing.assert_allclose(outputs["pooled"][row], expected, atol=1e-5)
    assert list(encoder.input) == ["audio", "audio_mask"]
    assert encoder.output["pooled"].shape == (None, 8)


def test_what_fills_up_a_sound_does_not_count(encoders):
    encoder = encoders["scratch"]
    inputs = encoder.preprocess(tf.constant([SHORT]))
    real = inputs["audio_mask"][..., None]
    other = tf.where(real, inputs["audio"], 0.3)
    first, second = (
        encoder({**inputs, "audio": audio}) for audio in (inputs["audio"], other)
    )
    np.testing.assert_allclose(first["pooled"], second["pooled"], atol=1e-6)


def test_whispers_tokens_are_kerashubs(backbones, encoders):
    encoder = encoders["whisper"]
    features = encoder.preprocess(tf.constant([SHORT]))["audio"]
    ids = tf.ones((1, 3), "int32")
    expected = backbones["whisper"](
        {
            "encoder_features": features,
            "decoder_token_ids": ids,
            "decoder_padding_mask": ids,
        }
    )["encoder_sequence_output"]
    np.testing.assert_allclose(encoder(features)["tokens"], expected, atol=1e-6)
    # The decoder's weights are gone.
    whole = backbones["whisper"].count_params()
    assert 0 < encoder.count_params() < whole
    assert not any("decoder" in v.path for v in encoder.weights)


def test_moonshines_tokens_are_kerashubs(backbones, encoders):
    encoder = encoders["moonshine"]
    inputs = encoder.preprocess(tf.constant([SHORT]))
    ids = tf.ones((1, 3), "int32")
    expected = backbones["moonshine"](
        {
            "encoder_input_values": inputs["audio"],
            "encoder_padding_mask": inputs["audio_mask"],
            "decoder_token_ids": ids,
            "decoder_padding_mask": ids,
        }
    )
    outputs = encoder(inputs)
    np.testing.assert_allclose(
        outputs["tokens"], expected["encoder_sequence_output"], atol=1e-6
    )
    np.testing.assert_array_equal(outputs["mask"], expected["encoder_attention_mask"])


def test_preprocess_of_one_and_many_of_bytes_and_waveforms(encoders):
    encoder = encoders["scratch"]
    many = tf.function(encoder.preprocess)(tf.constant([SHORT, LONG]))
    assert many["audio"].shape == (2, 50, MELS)
    np.testing.assert_array_equal(many["audio_mask"].numpy().sum(axis=1), [25, 50])
    dataset = tf.data.Dataset.from_tensors(SHORT).map(encoder.preprocess)
    assert dataset.element_spec["audio"].shape == (50, MELS)
    one = next(iter(dataset))
    decoded = np.float32(np.round(tone(samples=4000) * 32768) / 32768)
    from_waveform = encoder.preprocess(decoded)
    for key in ("audio", "audio_mask"):
        np.testing.assert_allclose(many[key][0], one[key], atol=1e-5)
        np.testing.assert_allclose(from_waveform[key], one[key], atol=1e-2)
    batch = encoder.preprocess(np.stack([decoded, decoded]))
    np.testing.assert_allclose(batch["audio"][1], from_waveform["audio"], atol=1e-5)


@pytest.mark.parametrize("kind", ["whisper", "scratch"])
def test_survives_a_file(encoders, kind, tmp_path):
    encoder = encoders[kind]
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    inputs = encoder.preprocess(tf.constant([SHORT, LONG]))
    again = loaded.preprocess(tf.constant([SHORT, LONG]))
    np.testing.assert_array_equal(inputs["audio"], again["audio"])
    np.testing.assert_array_equal(loaded(again)["pooled"], encoder(inputs)["pooled"])


@pytest.mark.parametrize("kind", ["whisper", "moonshine"])
def test_from_preset(backbones, kind, tmp_path):
    backbone = backbones[kind]
    backbone.save_to_preset(tmp_path)
    if kind == "whisper":
        converter = keras_hub.layers.WhisperAudioConverter(
            num_mels=MELS, num_fft_bins=256, stride=128, sampling_rate=8000
        )
    else:
        converter = keras_hub.layers.MoonshineAudioConverter(sampling_rate=8000)
    bare = AudioEncoder.from_preset(str(tmp_path), 0.3)
    converter.save_to_preset(tmp_path)
    encoder = AudioEncoder.from_preset(str(tmp_path), 0.3)
    assert (bare.sample_rate, encoder.sample_rate) == (16000, 8000)
    if kind == "whisper":
        assert (encoder.log_mel.window, encoder.log_mel.stride) == (256, 128)
    for one in (bare, encoder):
        for mine, theirs in zip(
            one.weights, AudioEncoder.from_backbone(backbone, 0.3).weights, strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_depths_of_layers(encoders):
    depths = layer_depths(encoders["whisper"])
    by_name = {
        key: {depth for path, depth in depths.items() if key in path}
        for key in (
            "conv_layer_1",
            "conv_layer_2",
            "encoder_layer_0",
            "encoder_layer_1/",
        )
    }
    assert list(by_name.values()) == [{0}, {0}, {1}, {2}]
    assert {d for path, d in depths.items() if "encoder_layer_norm" in path} == {3}
    depths = layer_depths(encoders["scratch"])
    assert {d for path, d in depths.items() if "block_0_" in path} == {1}
    assert max(depths.values()) == 3
    depths = layer_depths(encoders["moonshine"])
    assert {d for path, d in depths.items() if "conv" in path} == {0}
    assert {d for path, d in depths.items() if "block_0" in path} == {1}


def test_spec_augment_only_in_training_and_only_if_trainable():
    encoder = AudioEncoder.from_scratch(
        0.5, LogMel(num_mels=MELS), (4,), 8, spec_augment=SpecAugment(seed=1)
    )
    inputs = encoder.preprocess(tf.constant([LONG]))
    used, trained = (encoder(inputs, training=t)["pooled"] for t in (False, True))
    assert np.abs(used - trained).max() > 1e-4
    encoder.trainable = False
    np.testing.assert_array_equal(encoder(inputs, training=True)["pooled"], used)


def test_networks_from_elsewhere():
    features = keras.Input((50, MELS))
    tokens = keras.layers.Conv1D(8, 2, strides=2)(features)
    encoder = AudioEncoder.from_backbone(keras.Model(features, tokens), 0.5)
    outputs = encoder(encoder.preprocess(tf.constant([SHORT])))
    assert outputs["mask"].numpy().sum() == 13
    vector = keras.layers.GlobalAveragePooling1D()(tokens)
    encoder = AudioEncoder.from_backbone(keras.Model(features, vector), 0.5)
    assert encoder(np.zeros((2, 50, MELS)))["tokens"].shape == (2, 1, 8)


def test_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    encoder = AudioEncoder.from_scratch(0.5, LogMel(num_mels=MELS), (4,), 8)
    pooled = encoder(encoder.preprocess(tf.constant([SHORT])))["pooled"]
    assert np.all(np.isfinite(np.asarray(pooled, "float32")))


def bad(make):
    with pytest.raises(ValueError, match=r"Received: ") as error:
        make()
    return str(error.value)


def test_bad_arguments(backbones, tmp_path):
    speech = SpeechEncoder(backbones["whisper"])
    assert "61 frames" in bad(lambda: AudioEncoder.from_backbone(speech, 0.61))
    assert "audio_seconds" in bad(lambda: AudioEncoder.from_backbone(speech, 0.01))
    assert "spectrograms" in bad(lambda: AudioEncoder(speech, 0.5))
    assert "from_backbone" in bad(
        lambda: AudioEncoder(backbones["whisper"], 0.5, LogMel())
    )
    moon, augment = backbones["moonshine"], SpecAugment()
    assert "no_spec_augment" in bad(
        lambda: AudioEncoder.from_backbone(moon, 0.5, spec_augment=augment)
    )
    assert "sample_rate" in bad(lambda: AudioEncoder(speech, 0.5, LogMel(), 8000))
    assert "filters" in bad(lambda: SoundBackbone(50, MELS, ()))
    assert "BertBackbone" in bad(
        lambda: SpeechEncoder(keras_hub.models.BertBackbone(7, 1, 2, 8, 16))
    )
    assert "no_such_model" in bad(lambda: AudioEncoder.from_preset("no_such_model"))
    keras_hub.models.BertBackbone(7, 1, 2, 8, 16).save_to_preset(tmp_path)
    assert "Whisper or a Moonshine" in bad(
        lambda: AudioEncoder.from_preset(str(tmp_path))
    )
