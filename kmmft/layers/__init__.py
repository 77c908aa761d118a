"""Layers that stand between encoders and a task's head.

Which fusion? Begin with the first that fits.

| your problem                                      | layer                           |
|---------------------------------------------------|---------------------------------|
| a baseline; little data; any number of modalities | `ConcatFusion`                  |
| a modality's worth changes with the example       | `GatedFusion`                   |
| the answer needs both at once (question + image)  | `BilinearFusion`                |
| one modality asks, the other has many tokens      | `FiLMFusion`                    |
| words must find regions, one way or both ways     | `CrossAttentionFusion`          |
| several token sequences, much data                | `TransformerFusion`             |
| the same, with long sequences (audio, video)      | `TransformerFusion`, bottleneck |
| few features, and every product of them matters   | `TensorFusion`                  |

`ConcatFusion`, `GatedFusion`, `BilinearFusion` and `TensorFusion` read `pooled`, the
attention layers read `tokens`, and `FiLMFusion` reads one of each. All of them take
`present`, for examples that lack a modality, and `modality_dropout_rate`, which makes
a model ready for such examples; see `Fusion` and `ModalityDropout`.

`Pooling` and `AttentionPooling` turn tokens into one vector. `ProjectionHead` takes a
vector into the space in which a loss compares, and `LogitScale` is the temperature of
that comparison.

`TokenCrossAttention` lets each word of a text read an image, and keeps the words: for
an answer at each word.

`FrameTransformer` makes the frames of a video know of each other and of their order;
`TightSimilarity` scores a text and a video by looking at both together.

`LogMel` turns sound into spectrograms, and `SpecAugment` hides parts of them.

`Codebook` turns vectors into ids of codes, for models that draw pictures.
"""

from kmmft.layers.attention_pooling import AttentionPooling
from kmmft.layers.bilinear_fusion import BilinearFusion
from kmmft.layers.codebook import Codebook
from kmmft.layers.concat_fusion import ConcatFusion
from kmmft.layers.cross_attention_fusion import CrossAttentionFusion
from kmmft.layers.film_fusion import FiLMFusion
from kmmft.layers.frame_transformer import FrameTransformer
from kmmft.layers.fusion import Fusion
from kmmft.layers.gated_fusion import GatedFusion
from kmmft.layers.log_mel import LogMel
from kmmft.layers.logit_scale import LogitScale
from kmmft.layers.modality_dropout import ModalityDropout
from kmmft.layers.patch_dropout import PatchDropout
from kmmft.layers.pooling import Pooling
from kmmft.layers.projection_head import ProjectionHead
from kmmft.layers.spec_augment import SpecAugment
from kmmft.layers.tensor_fusion import TensorFusion
from kmmft.layers.tight_similarity import TightSimilarity
from kmmft.layers.token_cross_attention import TokenCrossAttention
from kmmft.layers.transformer_fusion import TransformerFusion
from kmmft.layers.unit_length import UnitLength

__all__ = [
    "AttentionPooling",
    "BilinearFusion",
    "Codebook",
    "ConcatFusion",
    "CrossAttentionFusion",
    "FiLMFusion",
    "FrameTransformer",
    "Fusion",
    "GatedFusion",
    "LogMel",
    "LogitScale",
    "ModalityDropout",
    "PatchDropout",
    "Pooling",
    "ProjectionHead",
    "SpecAugment",
    "TensorFusion",
    "TightSimilarity",
    "TokenCrossAttention",
    "TransformerFusion",
    "UnitLength",
]
