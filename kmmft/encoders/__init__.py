"""Pretrained encoders of images, texts, audio, video and tables, with one contract.

An encoder is a `keras.Model` that returns `pooled`, `tokens` and `mask`, and owns
its preprocessing.
"""

from kmmft.encoders.audio_encoder import AudioEncoder
from kmmft.encoders.byte_strings import ByteStrings
from kmmft.encoders.clip_text_backbone import ClipTextBackbone
from kmmft.encoders.clip_tokenizer import ClipTokenizer
from kmmft.encoders.dual_checkpoint import (
    DualCheckpoint,
    load_dual_checkpoint,
    load_dual_preset,
)
from kmmft.encoders.efficientnet_lite import (
    EfficientNetLite0Backbone,
    load_imagenet_weights,
)
from kmmft.encoders.exact_gelu_bert import ExactGeluBertBackbone
from kmmft.encoders.feature_tokenizer import FeatureTokenizer
from kmmft.encoders.freeze_batch_norm import freeze_batch_norm
from kmmft.encoders.image_encoder import ImageEncoder
from kmmft.encoders.learnt_tokenizer import learn_tokenizer
from kmmft.encoders.patch_dropout import with_patch_dropout
from kmmft.encoders.prompt_encoder import PromptEncoder
from kmmft.encoders.qformer_encoder import QFormerEncoder
from kmmft.encoders.resize_backbone import resize_backbone
from kmmft.encoders.save_dual_checkpoint import save_dual_checkpoint
from kmmft.encoders.saved_model_layer import SavedModelLayer
from kmmft.encoders.seq2seq_encoder import Seq2SeqEncoder
from kmmft.encoders.shrink_tokenizer import shrink_tokenizer
from kmmft.encoders.siglip_tokenizer import SiglipTokenizer
from kmmft.encoders.sound_backbone import SoundBackbone
from kmmft.encoders.speech_encoder import SpeechEncoder
from kmmft.encoders.tabular_encoder import TabularEncoder
from kmmft.encoders.text_encoder import TextEncoder
from kmmft.encoders.text_packing import TextPacking, TextUnpacking
from kmmft.encoders.text_pair_encoder import TextPairEncoder
from kmmft.encoders.torch_checkpoint import (
    read_legacy_checkpoint,
    read_torch_checkpoint,
)
from kmmft.encoders.video_encoder import VideoEncoder
from kmmft.encoders.word_encoder import caption_encoder, word_encoder

__all__ = [
    "AudioEncoder",
    "ByteStrings",
    "ClipTextBackbone",
    "ClipTokenizer",
    "DualCheckpoint",
    "EfficientNetLite0Backbone",
    "ExactGeluBertBackbone",
    "FeatureTokenizer",
    "ImageEncoder",
    "PromptEncoder",
    "QFormerEncoder",
    "SavedModelLayer",
    "Seq2SeqEncoder",
    "SiglipTokenizer",
    "SoundBackbone",
    "SpeechEncoder",
    "TabularEncoder",
    "TextEncoder",
    "TextPacking",
    "TextPairEncoder",
    "TextUnpacking",
    "VideoEncoder",
    "caption_encoder",
    "freeze_batch_norm",
    "learn_tokenizer",
    "load_dual_checkpoint",
    "load_dual_preset",
    "load_imagenet_weights",
    "read_legacy_checkpoint",
    "read_torch_checkpoint",
    "resize_backbone",
    "save_dual_checkpoint",
    "shrink_tokenizer",
    "with_patch_dropout",
    "word_encoder",
]
