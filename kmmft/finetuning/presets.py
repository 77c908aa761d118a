"""Well-known ways of fine-tuning, as plans.

Each takes `pretrained`, the pattern of the weights that were trained before; all
others, such as heads and fusion layers, are new. The default is for kmmft's models,
whose encoders are called `<name>_encoder`; for a KerasHub task it is
`"*_backbone/*"`. `kmmft.finetuning.named_variables(model)` tells the names. Further
options go to the `Rule` of the pretrained weights, such as `batch_norm_frozen=True`.
"""

from collections.abc import Mapping

import numpy as np

from kmmft.finetuning.adapters import BitFit, Bottleneck, LoRA
from kmmft.finetuning.plan import Plan
from kmmft.finetuning.rule import Rule

ENCODERS = "*_encoder/*"


def full(pretrained: str = ENCODERS, **options) -> Plan:
    """All weights train from the beginning.

    Example:
        >>> kmmft.finetuning.presets.full(learning_rate_scale=0.1)
        Plan([
            Rule('*_encoder/*', learning_rate_scale=0.1),
            Rule('*'),
        ])
    """
    return Plan([Rule(pretrained, **options), Rule("*")])


def linear_probe(pretrained: str = ENCODERS) -> Plan:
    """Only new weights train; the encoders run in inference mode.

    Example:
        >>> kmmft.finetuning.presets.linear_probe()
        Plan([
            Rule('*_encoder/*', train=False),
            Rule('*'),
        ])
    """
    return Plan([Rule(pretrained, train=False), Rule("*")])


def lp_ft(
    probe_epochs: int = 1,
    learning_rate_scale: float = 0.1,
    pretrained: str = ENCODERS,
    **options,
) -> Plan:
    """First a probe, then everything: a good head does not distort the encoders.

    Args:
        probe_epochs: Epochs in which only new weights train.
        learning_rate_scale: Factor on the encoders' rate.
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`.

    Example:
        >>> kmmft.finetuning.presets.lp_ft(probe_epochs=3).rules[0].train_from_epoch
        3

    References:
        - [Kumar et al., 2022](https://arxiv.org/abs/2202.10054), section 3.
    """
    return full(
        pretrained,
        train_from_epoch=probe_epochs,
        learning_rate_scale=learning_rate_scale,
        **options,
    )


def lit(locked: str = "image_encoder/*") -> Plan:
    """Locked-image tuning: a `DualEncoder` whose text tower learns to read the images.

    Args:
        locked: Pattern of the weights that stay.

    Example:
        >>> kmmft.finetuning.presets.lit().rules[0]
        Rule('image_encoder/*', train=False)

    References:
        - [Zhai et al., 2021](https://arxiv.org/abs/2111.07991), section 3.
    """
    return Plan([Rule(locked, train=False), Rule("*")])


def gradual_unfreezing(
    epochs_per_group: int = 1,
    groups: int | None = 4,
    pretrained: str = ENCODERS,
    **options,
) -> Plan:
    """First the head, then one group of layers more at a time, top down.

    The train step is traced anew for each group. Discriminative rates go well with it:
    `layer_decay=1 / 2.6`.

    Args:
        epochs_per_group: Epochs from one beginning to the next.
        groups: Groups into which the encoders' layers fall; `None` for one each.
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`.

    Example:
        >>> kmmft.finetuning.presets.gradual_unfreezing(2).rules[0]
        Rule('*_encoder/*', train_from_epoch=2, epochs_per_group=2, groups=4)

    References:
        - [Howard & Ruder, 2018](https://arxiv.org/abs/1801.06146), section 3.3.
    """
    return full(
        pretrained,
        train_from_epoch=epochs_per_group,
        epochs_per_group=epochs_per_group,
        groups=groups,
        **options,
    )


def layer_wise_decay(
    layer_decay: float = 0.75, pretrained: str = ENCODERS, **options
) -> Plan:
    """Each layer's rate is a fraction of the rate of the layer above.

    Args:
        layer_decay: The fraction.
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`.

    Example:
        >>> kmmft.finetuning.presets.layer_wise_decay(0.9).rules[0]
        Rule('*_encoder/*', layer_decay=0.9)

    References:
        - [Clark et al., 2020](https://arxiv.org/abs/2003.10555), appendix B.
        - [Bao et al., 2021](https://arxiv.org/abs/2106.08254), appendix.
    """
    return full(pretrained, layer_decay=layer_decay, **options)


def l2(strength: float = 0.01, pretrained: str = ENCODERS, **options) -> Plan:
    """Pulls all weights to zero, which forgets the pretraining: the usual baseline.

    Args:
        strength: Factor on the squared norm in the loss, without 1/2.
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`.

    Example:
        >>> kmmft.finetuning.presets.l2(0.01).rules
        (Rule('*_encoder/*', l2=0.01), Rule('*', l2=0.01))
    """
    return Plan([Rule(pretrained, l2=strength, **options), Rule("*", l2=strength)])


def l2_sp(
    strength: float = 0.1,
    new_strength: float = 0.01,
    fisher: Mapping[str, np.ndarray] | None = None,
    pretrained: str = ENCODERS,
    **options,
) -> Plan:
    """Pulls pretrained weights to where they started, and new ones to zero.

    Args:
        strength: Factor on the squared distance from the start, without 1/2.
        new_strength: Factor on the squared norm of new weights, without 1/2.
        fisher: What `kmmft.finetuning.estimate_fisher` returns: weights that matter
            more are held more firmly (L2-SP-Fisher).
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`.

    Example:
        >>> kmmft.finetuning.presets.l2_sp(0.1, new_strength=0.01).rules
        (Rule('*_encoder/*', l2_sp=0.1), Rule('*', l2=0.01))

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1802.01483), eq. 3 and 5, there with
          a factor of 1/2.
    """
    return Plan(
        [
            Rule(pretrained, l2_sp=strength, fisher=fisher, **options),
            Rule("*", l2=new_strength),
        ]
    )


def lora(
    rank: int = 8, alpha: float = 16.0, pretrained: str = ENCODERS, **options
) -> Plan:
    """Low-rank changes of frozen kernels, and the new weights.

    Args:
        rank: Rank of each change.
        alpha: The change is scaled by `alpha / rank`.
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`, for the adapters' weights.

    Example:
        >>> kmmft.finetuning.presets.lora(rank=4).rules[0].adapter.rank
        4

    References:
        - [Hu et al., 2021](https://arxiv.org/abs/2106.09685), eq. 3.
    """
    return full(pretrained, adapter=LoRA(rank=rank, alpha=alpha), **options)


def lora_only(
    rank: int = 8,
    alpha: float = 16.0,
    within: str = "decoder/*",
    targets: str | tuple[str, ...] = ("*/query*", "*/value*"),
    **options,
) -> Plan:
    """Low-rank changes of some frozen kernels, and nothing else, of large models.

    Args:
        rank: Rank of each change.
        alpha: The change is scaled by `alpha / rank`.
        within: Pattern of the weights among which the kernels are.
        targets: Which layers' kernels; see `LoRA`. The default fits the queries and
            values of all of KerasHub's text models.
        **options: Of the `Rule`, for the adapters' weights.

    Example:
        >>> kmmft.finetuning.presets.lora_only(rank=4).rules[1]
        Rule('*', train=False)

    References:
        - [Hu et al., 2021](https://arxiv.org/abs/2106.09685), section 4.2 (queries and
          values of attention).
    """
    adapter = LoRA(rank=rank, alpha=alpha, targets=targets)
    return Plan([Rule(within, adapter=adapter, **options), Rule("*", train=False)])


def adapters(
    dim: int = 64, mode: str = "houlsby", pretrained: str = ENCODERS, **options
) -> Plan:
    """Small networks within frozen transformer blocks, and the new weights.

    Args:
        dim: Width of each network's hidden layer.
        mode: `"houlsby"`, after each sublayer, or `"parallel"`, beside it.
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`, for the adapters' weights.

    Example:
        >>> kmmft.finetuning.presets.adapters(dim=16).rules[0].adapter.dim
        16

    References:
        - [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751), section 2.1.
    """
    return full(pretrained, adapter=Bottleneck(dim=dim, mode=mode), **options)


def bitfit(pretrained: str = ENCODERS, **options) -> Plan:
    """Only the biases of the encoders, and the new weights.

    Args:
        pretrained: Pattern of the pretrained weights.
        **options: Of their `Rule`.

    Example:
        >>> kmmft.finetuning.presets.bitfit().rules[0]
        Rule('*_encoder/*', adapter=BitFit())

    References:
        - [Ben Zaken et al., 2022](https://arxiv.org/abs/2106.10199), section 3.
    """
    return full(pretrained, adapter=BitFit(), **options)
