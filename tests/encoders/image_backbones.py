"""The smallest image backbone of each family: name -> (make, size, tokens, dim)."""

from keras_hub import models


def csp_net():
    return models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=2,
        stackwise_depth=[1, 1],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[8, 12],
        block_type="dark_block",
        stage_type="csp",
        bottle_ratio=[0.5, 1.0],
        block_ratio=[1.0, 0.5],
        expand_ratio=[2.0, 1.0],
        image_shape=(None, None, 3),
    )


def efficient_net():
    return models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0],
        stackwise_depth_coefficients=[1.0],
        stackwise_kernel_sizes=[3],
        stackwise_num_repeats=[1],
        stackwise_input_filters=[8],
        stackwise_output_filters=[8],
        stackwise_expansion_ratios=[1],
        stackwise_squeeze_and_excite_ratios=[0.25],
        stackwise_strides=[2],
        stackwise_block_types=["v1"],
        num_features=16,
    )


def mobile_net():
    return models.MobileNetBackbone(
        stackwise_expansion=[[8]],
        stackwise_num_blocks=[1],
        stackwise_num_filters=[[8]],
        stackwise_kernel_size=[[3]],
        stackwise_num_strides=[[2]],
        stackwise_se_ratio=[[None]],
        stackwise_activation=[["relu"]],
        stackwise_padding=[[1]],
        output_num_filters=16,
        depthwise_filters=8,
        depthwise_stride=1,
        depthwise_residual=False,
        last_layer_filter=16,
        input_num_filters=8,
        input_activation="relu",
        output_activation="relu",
    )


def mobile_net_v5():
    arguments = models.MobileNetV5Backbone
    block = [["er"], ["uir"]]
    each = [[None], [None]]
    return arguments(
        stackwise_block_types=block,
        stackwise_num_blocks=[1, 1],
        stackwise_num_filters=[[8], [8]],
        stackwise_strides=[[2], [2]],
        stackwise_act_layers=[["gelu"], ["gelu"]],
        stackwise_exp_ratios=[[2.0], [2.0]],
        stackwise_se_ratios=[[0.0], [0.0]],
        stackwise_dw_kernel_sizes=[[0], [3]],
        stackwise_dw_start_kernel_sizes=[[0], [0]],
        stackwise_dw_end_kernel_sizes=[[0], [0]],
        stackwise_exp_kernel_sizes=[[3], [0]],
        stackwise_pw_kernel_sizes=[[1], [0]],
        stackwise_num_heads=each,
        stackwise_key_dims=each,
        stackwise_value_dims=each,
        stackwise_kv_strides=each,
        stackwise_use_cpe=[[False], [False]],
        stem_size=8,
        use_msfa=False,
    )


def hg_net_v2():
    return models.HGNetV2Backbone(
        depths=[1, 1],
        embedding_size=8,
        hidden_sizes=[8, 16],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 8, 1, 1, 3), (8, 8, 16, 1, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=(None, None, 3),
    )


def mit():
    return models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.0,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[8, 16],
    )


def resnet():
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 12],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )


def transformer(backbone, **arguments):
    return backbone(
        patch_size=16,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        image_shape=(32, 32, 3),
        **arguments,
    )


BACKBONES = {
    "vit": (lambda: models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16), 4, 8),
    "deit": (lambda: transformer(models.DeiTBackbone), 4, 8),
    "dinov2": (
        lambda: transformer(
            models.DINOV2Backbone,
            num_register_tokens=2,
            position_embedding_shape=(32, 32, 3),
        ),
        4,
        8,
    ),
    "dinov3": (lambda: transformer(models.DINOV3Backbone), 4, 8),
    "clip": (lambda: transformer(models.CLIPVisionEncoder), 4, 8),
    "siglip": (lambda: transformer(models.SigLIPVisionEncoder), 4, 8),
    "metaclip_2": (lambda: transformer(models.MetaCLIP2VisionEncoder), 4, 8),
    "swin": (
        lambda: models.SwinTransformerBackbone((32, 32, 3), 8, [1, 1], [1, 2], 4),
        16,
        16,
    ),
    "mit": (mit, 16, 16),
    "vit_det": (
        lambda: models.ViTDetBackbone(
            8, 1, 16, 2, [0], image_shape=(32, 32, 3), num_output_channels=12
        ),
        4,
        12,
    ),
    "resnet": (resnet, 16, 12),
    "densenet": (lambda: models.DenseNetBackbone([1, 1], growth_rate=4), 16, 38),
    "cspnet": (csp_net, 64, 12),
    "efficientnet": (efficient_net, 64, 16),
    "mobilenet": (mobile_net, 64, 16),
    "mobilenetv5": (mobile_net_v5, 16, 8),
    "hgnetv2": (hg_net_v2, 16, 16),
    "vgg": (lambda: models.VGGBackbone([1, 1], [8, 12]), 64, 12),
    "xception": (
        lambda: models.XceptionBackbone([[8, 8], [12, 12]], [True, False]),
        49,
        12,
    ),
}
