"""Few new weights, or few old ones, trained instead of all."""

from kmmft.finetuning.adapters.adapter_files import load_adapters, save_adapters
from kmmft.finetuning.adapters.bitfit import BitFit
from kmmft.finetuning.adapters.bottleneck import Bottleneck
from kmmft.finetuning.adapters.dora import DoRA
from kmmft.finetuning.adapters.ia3 import IA3
from kmmft.finetuning.adapters.lora import LoRA
from kmmft.finetuning.adapters.merging import merge_adapters, unmerge_adapters
from kmmft.finetuning.adapters.named_adapters import use_adapter
from kmmft.finetuning.adapters.prefix import PrefixTokens

__all__ = [
    "IA3",
    "BitFit",
    "Bottleneck",
    "DoRA",
    "LoRA",
    "PrefixTokens",
    "load_adapters",
    "merge_adapters",
    "save_adapters",
    "unmerge_adapters",
    "use_adapter",
]
