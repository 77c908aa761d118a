"""How a pretrained model's weights change: which, when, how fast and how far."""

from kmmft.finetuning import presets
from kmmft.finetuning.adapters import (
    IA3,
    BitFit,
    Bottleneck,
    DoRA,
    LoRA,
    PrefixTokens,
    load_adapters,
    merge_adapters,
    save_adapters,
    unmerge_adapters,
    use_adapter,
)
from kmmft.finetuning.adversarial import FGM, PGD, FreeLB
from kmmft.finetuning.applied_plan import AppliedPlan
from kmmft.finetuning.batch_norm_statistics import update_batch_norm
from kmmft.finetuning.fewer_layers import cut_image_encoder, keep_layers
from kmmft.finetuning.fisher import estimate_fisher
from kmmft.finetuning.fix_match import FixMatch
from kmmft.finetuning.gradient_noise import GradientNoise
from kmmft.finetuning.hidden_units import prune_hidden_units
from kmmft.finetuning.l2_sp import L2SP, anchor_of
from kmmft.finetuning.layer_depths import layer_depths
from kmmft.finetuning.mixup import CutMix, Mixup
from kmmft.finetuning.model_soup import greedy_soup, uniform_soup
from kmmft.finetuning.named_parts import named_layers, named_variables
from kmmft.finetuning.output_divergence import output_kind
from kmmft.finetuning.plan import Plan
from kmmft.finetuning.pruning import prune, zero_shares
from kmmft.finetuning.r_drop import RDrop
from kmmft.finetuning.rule import Rule
from kmmft.finetuning.schedules import SlantedTriangular
from kmmft.finetuning.self_distillation import SelfDistillation, starting_copy
from kmmft.finetuning.virtual_adversarial import SMART, VAT
from kmmft.finetuning.weight_averaging import StochasticWeightAveraging
from kmmft.finetuning.weight_interpolation import (
    interpolate_weights,
    weight_values,
    wise_ft,
)

__all__ = [
    "FGM",
    "IA3",
    "L2SP",
    "PGD",
    "SMART",
    "VAT",
    "AppliedPlan",
    "BitFit",
    "Bottleneck",
    "CutMix",
    "DoRA",
    "FixMatch",
    "FreeLB",
    "GradientNoise",
    "LoRA",
    "Mixup",
    "Plan",
    "PrefixTokens",
    "RDrop",
    "Rule",
    "SelfDistillation",
    "SlantedTriangular",
    "StochasticWeightAveraging",
    "anchor_of",
    "cut_image_encoder",
    "estimate_fisher",
    "greedy_soup",
    "interpolate_weights",
    "keep_layers",
    "layer_depths",
    "load_adapters",
    "merge_adapters",
    "named_layers",
    "named_variables",
    "output_kind",
    "presets",
    "prune",
    "prune_hidden_units",
    "save_adapters",
    "starting_copy",
    "uniform_soup",
    "unmerge_adapters",
    "update_batch_norm",
    "use_adapter",
    "weight_values",
    "wise_ft",
    "zero_shares",
]
