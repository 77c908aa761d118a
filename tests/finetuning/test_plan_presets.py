"""Depths of real backbones, and the plans that count on them."""

import keras
import keras_hub
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import layer_depths, named_variables, presets
from tests.finetuning.plan_cases import CountedModel

models = keras_hub.models
TEXT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
IMAGE = {**TEXT, "patch_size": 16, "image_shape": (32, 32, 3)}


def resnet():
    return models.ResNetBackbone(
        [64], [7], [64, 64], [1, 2], [1, 2], "basic_block", image_shape=(32, 32, 3)
    )


# A beginning of paths of the first, a middle and the last depth, each with the depth.
DEPTHS = {
    "vit": (
        lambda: models.ViTBackbone((32, 32, 3), 16, 2, 2, 8, 16),
        {
            "vit_patching_and_embedding/": 0,
            "vit_encoder/transformer_block_1/": 1,
            "vit_encoder/transformer_block_2/": 2,
            "vit_encoder/ln/": 3,
        },
    ),
    "clip_image": (
        lambda: models.CLIPVisionEncoder(**IMAGE),
        {
            "embedding/": 0,
            "pre_layer_norm/": 0,
            "encoder_block_0/": 1,
            "encoder_block_1/": 2,
            "layer_norm/": 3,
        },
    ),
    "clip_text": (
        lambda: models.CLIPTextEncoder(60, 8, max_sequence_length=8, **TEXT),
        {"embedding/": 0, "encoder_block_1/": 2, "layer_norm/": 3},
    ),
    "siglip_image": (
        lambda: models.SigLIPVisionEncoder(**IMAGE),
        {"embedding/": 0, "encoder_block_0/": 1, "post_layer_norm/": 3, "head/": 3},
    ),
    "bert": (
        lambda: models.BertBackbone(20, **TEXT),
        {
            "token_embedding/": 0,
            "position_embedding/": 0,
            "embeddings_layer_norm/": 0,
            "transformer_layer_0/": 1,
            "transformer_layer_1/": 2,
            "pooled_dense/": 3,
        },
    ),
    "roberta": (
        lambda: models.RobertaBackbone(40, **TEXT),
        {"token_embedding/": 0, "embeddings/": 0, "transformer_layer_1/": 2},
    ),
    "swin": (
        lambda: models.SwinTransformerBackbone((32, 32, 3), 8, [2, 1], [1, 2], 4),
        {
            "patch_embedding/": 0,
            "stage_0/blocks_0/": 1,
            "stage_0/blocks_1/": 2,
            "stage_1/blocks_0/": 3,
            "norm/": 4,
        },
    ),
    "resnet": (
        resnet,
        {"conv1_": 0, "stack0_block0_": 1, "stack1_block0_": 2, "stack1_block1_": 3},
    ),
    "efficientnet_lite0": (
        lambda: kmmft.encoders.EfficientNetLite0Backbone((32, 32, 3)),
        # 1 + 2 + 2 + 3 + 3 + 4 + 1 blocks.
        {"stem_": 0, "block1a_": 1, "block3b_": 5, "block7a_": 16, "top_": 17},
    ),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depths_of_backbones(name):
    make, expected = DEPTHS[name]
    model = make()
    depths = layer_depths(model)
    assert list(depths) == list(named_variables(model))
    for beginning, depth in expected.items():
        found = {d for path, d in depths.items() if path.startswith(beginning)}
        assert found == {depth}, beginning
    assert max(depths.values()) == max(expected.values())


def vit(layers, name):
    backbone = models.ViTBackbone((32, 32, 3), 16, layers, 2, 8, 16, name="vit")
    return kmmft.encoders.ImageEncoder(backbone, name=name)


def classifier(layers=3):
    return kmmft.models.FusionClassifier(
        {"image": vit(layers, "image_encoder")}, None, ["a", "b"]
    )


def test_encoders_end_at_the_same_depth():
    # Of any name: a kmmft model knows its encoders.
    encoders = {"one": vit(3, "first"), "two": vit(1, "second")}
    model = kmmft.models.DualEncoder(encoders, projection_dim=4)
    depths = layer_depths(model)
    block = "{}/vit/vit_encoder/transformer_block_{}/ln_1/gamma"
    assert depths[block.format("first", 3)] == depths[block.format("second", 1)] == 3
    assert depths[block.format("first", 1)] == 1
    heads = {d for path, d in depths.items() if "projection" in path or "scale" in path}
    assert heads == {4}


def test_model_without_names_of_blocks_has_a_depth_for_each_layer():
    names = ["one", "two", "three"]
    model = keras.Sequential(
        [keras.Input((2,)), *(keras.layers.Dense(2, name=name) for name in names)]
    )
    assert list(layer_depths(model).values()) == [0, 0, 1, 1, 2, 2]


def by_path(model):
    return {weight.path: weight for weight in model.finetuning.weights}


def test_layer_decay_is_beit_s():
    # get_layer_id and the scales of BEiT's optim_factory: decay^(layers + 1 - id),
    # where embeddings have id 0, block i (from 0) i + 1 and the head layers + 1.
    layers, decay = 3, 0.65
    model = classifier(layers)
    presets.layer_wise_decay(decay).apply(model)
    for path, weight in by_path(model).items():
        if "embedding" in path:
            number = 0
        elif "transformer_block_" in path:
            number = int(path.partition("transformer_block_")[2].partition("/")[0])
        else:
            number = layers + 1
        expected = decay ** (layers + 1 - number)
        assert weight.learning_rate_scale == pytest.approx(expected), path


def starts(model):
    return {
        layer: {w.from_epoch for p, w in by_path(model).items() if layer in p}
        for layer in (
            "logits/",
            "vit_encoder/ln/",
            "block_3/",
            "block_2/",
            "block_1/",
            "patching",
        )
    }


def test_gradual_unfreezing_goes_down_layer_by_layer():
    model = classifier()
    presets.gradual_unfreezing(epochs_per_group=2, groups=None).apply(model)
    found = [epochs for epochs in starts(model).values()]
    assert found == [{0}, {2}, {4}, {6}, {8}, {10}]


def test_gradual_unfreezing_in_groups():
    model = classifier()
    presets.gradual_unfreezing(epochs_per_group=1, groups=2).apply(model)
    # Five layers in two groups, after the head.
    assert [*starts(model).values()] == [{0}, {1}, {1}, {1}, {2}, {2}]


def test_gradual_unfreezing_trains():
    model = classifier(layers=1)
    presets.gradual_unfreezing(groups=None).apply(model)
    model.compile(kmmft.training.AdamW(0.01))
    x = {"image": np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))}
    moved = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.before = {p: v.numpy() for p, v in named_variables(model).items()}

        def on_epoch_end(self, epoch, logs=None):
            after = named_variables(model)
            changed = [
                path
                for path, value in self.before.items()
                if (value != after[path].numpy()).any()
            ]
            moved.append({layer_depths(model)[path] for path in changed})

    model.fit(x, np.array([0, 1]), epochs=4, verbose=0, callbacks=[Watch()])
    # The head and the final norm are equally high; the rule holds only the norm.
    assert moved == [{2}, {2}, {1, 2}, {0, 1, 2}]


PLANS = {
    "full": presets.full,
    "linear_probe": presets.linear_probe,
    "lp_ft": presets.lp_ft,
    "lit": presets.lit,
    "gradual_unfreezing": presets.gradual_unfreezing,
    "layer_wise_decay": presets.layer_wise_decay,
    "l2": presets.l2,
    "l2_sp": presets.l2_sp,
    "lora": lambda: presets.lora(rank=2),
    "adapters": lambda: presets.adapters(dim=2),
    "bitfit": presets.bitfit,
}


@pytest.mark.parametrize("name", PLANS)
def test_presets_say_what_trains(name):
    model = classifier(layers=1)
    PLANS[name]().apply(model)
    weights = by_path(model)
    old = [w for path, w in weights.items() if path.startswith("image_encoder/")]
    trained = {w.path for w in old if w.trains}
    assert weights["logits/kernel"].has_begun(0, 0)
    if name in ("linear_probe", "lit"):
        assert not trained
    elif name in ("lora", "adapters"):
        assert trained and trained == {w.path for w in old if w.is_added}
    elif name == "bitfit":
        assert trained == {p for p in weights if p.endswith(("/bias", "/beta"))} - {
            "logits/bias"
        }
    else:
        assert len(trained) == len(old)
    late = name in ("lp_ft", "gradual_unfreezing")
    assert any(w.is_late for w in old) == late


def test_kerashub_task_with_a_pattern_of_its_own():
    backbone = models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16, name="vit_backbone")
    task = models.ViTImageClassifier(backbone, num_classes=2, preprocessor=None)
    finetuning = presets.lp_ft(pretrained="vit_backbone/*").apply(task)
    task.compile(
        kmmft.training.AdamW(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = {p: v.numpy() for p, v in named_variables(task).items()}
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    task.fit(x, np.array([0, 1]), epochs=1, verbose=0, callbacks=[finetuning])
    for path, variable in named_variables(task).items():
        frozen = path.startswith("vit_backbone/")
        assert np.array_equal(variable.numpy(), before[path]) == frozen, path


@pytest.mark.parametrize("step", [0, 3, 10, 11, 55, 99, 100])
def test_slanted_triangle_is_ulmfit_s(step):
    total, peak, fraction, ratio = 100, 0.01, 0.1, 32
    cut = int(total * fraction)
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / fraction - 1))
    expected = peak * (1 + p * (ratio - 1)) / ratio
    schedule = kmmft.finetuning.SlantedTriangular(peak, total, fraction, ratio)
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-5)
    again = type(schedule).from_config(schedule.get_config())
    assert float(again(step)) == float(schedule(step))


def test_slanted_triangle_s_errors():
    with pytest.raises(ValueError, match="total_steps >= 1"):
        kmmft.finetuning.SlantedTriangular(0.1, total_steps=0)


def test_layer_decay_in_the_update():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = inputs
    for name in ("a", "b", "c"):
        x = keras.layers.Dense(4, name=name)(x)
    model = CountedModel(inputs, x)
    kmmft.finetuning.Plan([kmmft.finetuning.Rule("*", layer_decay=0.5)]).apply(model)
    model.compile(kmmft.training.AdamW(0.1, weight_decay=0.0), "mse")
    start = {p: v.numpy() for p, v in named_variables(model).items()}
    model.fit(np.ones((2, 4)), np.ones((2, 4)), verbose=0)
    # Adam's first step is of the rate's size.
    for path, variable in named_variables(model).items():
        size = 0.1 * 0.5 ** "cba".index(path[0])
        np.testing.assert_allclose(
            np.abs(variable.numpy() - start[path]), size, rtol=1e-3
        )
