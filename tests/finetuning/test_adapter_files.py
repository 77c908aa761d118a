"""Adapters in files of their own, and several sets of them on one base."""

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import kmmft
from kmmft.finetuning import (
    LoRA,
    PrefixTokens,
    load_adapters,
    merge_adapters,
    named_variables,
    save_adapters,
    use_adapter,
)
from kmmft.finetuning.adapters.stable_paths import stable_weight_paths
from tests.finetuning.adapter_cases import ADAPTERS, LABELS, adapted
from tests.models.test_fusion_classifier import batch_of, make_model


def by_stable_path(model):
    stable = stable_weight_paths(model)
    return {stable[path]: v for path, v in named_variables(model).items()}


def metadata(path):
    with safetensors.safe_open(path, "np") as file:
        return file.metadata()


def train(model):
    model.compile(kmmft.training.SGD(0.1))
    model.fit(batch_of(model), LABELS, epochs=2, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("kind", ADAPTERS)
def test_weights_files_keep_adapters(kind, tmp_path):
    model = adapted(ADAPTERS[kind])
    model.save_weights(tmp_path / "model.weights.h5")
    again = adapted(ADAPTERS[kind])
    again.load_weights(tmp_path / "model.weights.h5")
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_files_hold_what_was_trained_and_nothing_else(kind, tmp_path):
    names = ("image", "question") if kind == "lora" else ("image",)
    model = adapted(ADAPTERS[kind], names)
    path = tmp_path / "adapters.safetensors"
    save_adapters(model, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    weights = by_stable_path(model)
    held = safetensors.numpy.load_file(path)
    assert set(held) == {name for name, v in weights.items() if v.trainable}
    again = make_model(names)
    load_adapters(again, path)
    batch = batch_of(model)
    np.testing.assert_array_equal(again(batch), model(batch))
    for name, weight in by_stable_path(again).items():
        np.testing.assert_array_equal(weight, weights[name])
        assert weight.trainable == weights[name].trainable, name
    save_adapters(again, tmp_path / "again.safetensors")
    assert metadata(path) == metadata(tmp_path / "again.safetensors")
    for name, value in safetensors.numpy.load_file(
        tmp_path / "again.safetensors"
    ).items():
        np.testing.assert_array_equal(value, held[name])


def test_a_loaded_model_trains_on_as_the_saved_one(tmp_path):
    model = adapted(LoRA(rank=2))
    save_adapters(model, tmp_path / "a.safetensors")
    again = make_model(("image",))
    load_adapters(again, tmp_path / "a.safetensors")
    for either in (model, again):
        train(either)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plan_takes_saved_values(tmp_path):
    model = adapted(LoRA(rank=2))
    save_adapters(model, tmp_path / "a.safetensors")
    again = adapted(LoRA(rank=2))
    load_adapters(again, tmp_path / "a.safetensors")
    batch = batch_of(model)
    np.testing.assert_array_equal(again(batch), model(batch))
    with pytest.raises(ValueError, match="The base's own weights must be known"):
        use_adapter(again, None)


def test_several_sets_on_one_base(tmp_path):
    batch = batch_of(make_model(("image",)))
    expected = {}
    for name in ("a", "b"):
        model = adapted(LoRA(rank=2))
        save_adapters(model, tmp_path / f"{name}.safetensors")
        expected[name] = model(batch).numpy()
    served = make_model(("image",))
    expected[None] = served(batch).numpy()
    for name in ("a", "b"):
        load_adapters(served, tmp_path / f"{name}.safetensors", name)
    served.predict(batch, verbose=0)
    traced = served.predict_function
    for name in ("a", None, "b", "a"):
        use_adapter(served, name)
        given = served.predict(batch, verbose=0)
        np.testing.assert_allclose(given, expected[name], atol=1e-6)
        np.testing.assert_array_equal(served(batch), expected[name])
    assert served.predict_function is traced
    save_adapters(served, tmp_path / "again.safetensors", "b")
    once, again = (
        safetensors.numpy.load_file(tmp_path / f"{name}.safetensors")
        for name in ("b", "again")
    )
    assert list(once) == list(again)
    for name, value in once.items():
        np.testing.assert_array_equal(again[name], value)
    with pytest.raises(ValueError, match=r"one of \['a', 'b'\] or None. Received: 'c'"):
        use_adapter(served, "c")
    with pytest.raises(ValueError, match=r"one of \['a', 'b'\]. Received: 'c'"):
        save_adapters(served, tmp_path / "c.safetensors", "c")


def test_what_was_trained_in_a_set_is_kept_under_its_name(tmp_path):
    save_adapters(adapted(LoRA(rank=2)), tmp_path / "a.safetensors")
    model = make_model(("image",))
    batch = batch_of(model)
    for name in ("a", "b"):
        load_adapters(model, tmp_path / "a.safetensors", name)
    before = model(batch).numpy()
    after = train(model)(batch).numpy()
    use_adapter(model, "a")
    np.testing.assert_array_equal(model(batch), before)
    use_adapter(model, "b")
    np.testing.assert_array_equal(model(batch), after)
    assert np.abs(after - before).max() > 1e-3


def test_prefixes_cannot_be_switched_off_but_exchanged(tmp_path):
    for name in ("a", "b"):
        model = adapted(PrefixTokens(count=2))
        save_adapters(model, tmp_path / name)
    served, batch = make_model(("image",)), batch_of(model)
    for name in ("b", "a"):
        load_adapters(served, tmp_path / name, name)
    with pytest.raises(ValueError, match="Prefixes cannot be switched off"):
        use_adapter(served, None)
    use_adapter(served, "b")
    np.testing.assert_array_equal(served(batch), model(batch))


def test_paths_in_files_do_not_depend_on_what_was_built_before():
    one, other = (list(by_stable_path(make_model(("image",)))) for _ in range(2))
    assert one == other
    assert (
        "image_encoder/vi_t_backbone/vit_encoder/transformer_block_1/mha/key/kernel"
        in one
    )


def test_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_adapters(adapted(LoRA(rank=2)), path)
    other = make_model(("image",), class_names=["no", "yes"])
    before = {name: v.numpy() for name, v in named_variables(other).items()}
    with pytest.raises(ValueError, match=r"3,?\) for 'logits/.*2,?\)"):
        load_adapters(other, path)
    assert list(named_variables(other)) == list(before)
    for name, weight in named_variables(other).items():
        np.testing.assert_array_equal(weight, before[name])
    other.save(tmp_path / "whole.keras")
    one = make_model(("question",))
    with pytest.raises(ValueError, match="must have all layers that the file speaks"):
        load_adapters(one, path)
    larger = adapted(LoRA(rank=3))
    with pytest.raises(ValueError, match="of the same kinds and sizes"):
        load_adapters(larger, path)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="which is no safetensors file"):
        load_adapters(make_model(("image",)), tmp_path / "text")
    safetensors.numpy.save_file({"x": np.zeros(2)}, tmp_path / "bare")
    with pytest.raises(ValueError, match="format=None"):
        load_adapters(make_model(("image",)), tmp_path / "bare")
    with pytest.raises(ValueError, match="The model must have adapters"):
        save_adapters(make_model(("image",)), tmp_path / "none.safetensors")
    merge_adapters(larger)
    with pytest.raises(ValueError, match="Call `unmerge_adapters` first"):
        save_adapters(larger, tmp_path / "merged.safetensors")
