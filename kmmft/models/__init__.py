"""Models made of encoders: plain Keras models with their raw inputs' preparation."""

from kmmft.models.bart_decoder import BartDecoder
from kmmft.models.beam_search import BeamSearch
from kmmft.models.blip2_opt_decoder import Blip2OptDecoder
from kmmft.models.blip2_t5_decoder import Blip2T5Decoder
from kmmft.models.coca import CoCa
from kmmft.models.contrastive_training import ContrastiveTraining
from kmmft.models.cross_attention_decoder import CrossAttentionDecoder
from kmmft.models.dual_encoder import DualEncoder
from kmmft.models.fusion_classifier import FusionClassifier
from kmmft.models.fusion_generator import FusionGenerator
from kmmft.models.gemma3_decoder import Gemma3Decoder
from kmmft.models.image_tokenizer import ImageTokenizer
from kmmft.models.load_dual_encoder import load_dual_encoder
from kmmft.models.load_fusion_classifier import load_fusion_classifier
from kmmft.models.multi_task import MultiTask
from kmmft.models.pali_gemma_decoder import PaliGemmaDecoder
from kmmft.models.perceptual_distance import PerceptualDistance
from kmmft.models.prefix_decoder import PrefixDecoder
from kmmft.models.question_answerer import QuestionAnswerer
from kmmft.models.question_batches import question_batches
from kmmft.models.self_critical import SelfCritical, reference_keys
from kmmft.models.sequence_recommender import SequenceRecommender
from kmmft.models.t5_decoder import T5Decoder
from kmmft.models.task_weights import FixedWeights, GradNorm, UncertaintyWeights
from kmmft.models.text_search import Greedy, Sampling
from kmmft.models.text_to_image import TextToImage
from kmmft.models.tight_video_text import TightVideoText
from kmmft.models.token_classifier import TokenClassifier
from kmmft.models.token_texts import TokenTexts

__all__ = [
    "BartDecoder",
    "BeamSearch",
    "Blip2OptDecoder",
    "Blip2T5Decoder",
    "CoCa",
    "ContrastiveTraining",
    "CrossAttentionDecoder",
    "DualEncoder",
    "FixedWeights",
    "FusionClassifier",
    "FusionGenerator",
    "Gemma3Decoder",
    "GradNorm",
    "Greedy",
    "ImageTokenizer",
    "MultiTask",
    "PaliGemmaDecoder",
    "PerceptualDistance",
    "PrefixDecoder",
    "QuestionAnswerer",
    "Sampling",
    "SelfCritical",
    "SequenceRecommender",
    "T5Decoder",
    "TextToImage",
    "TightVideoText",
    "TokenClassifier",
    "TokenTexts",
    "UncertaintyWeights",
    "load_dual_encoder",
    "load_fusion_classifier",
    "question_batches",
    "reference_keys",
]
