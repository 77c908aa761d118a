"""Training runs: where they compute, what they keep and how they go on after a kill."""

from kmmft.training.audio_recipe_config import AudioEncoderConfig, AudioRecipeConfig
from kmmft.training.checkpoints import Checkpointer
from kmmft.training.classifier_fit import fit_classifier
from kmmft.training.command_line import parse_config, run_recipe
from kmmft.training.distributed import DistributedTraining
from kmmft.training.dropout_seeds import DropoutSeeds
from kmmft.training.fresh_session import fresh_session
from kmmft.training.gradient_conflicts import project_conflicts
from kmmft.training.optimizers import SGD, AdamW, UpdateRule, adamw
from kmmft.training.pair_fit import fit_pairs
from kmmft.training.recipe_config import RecipeConfig, check_one_source
from kmmft.training.rematerialisation import rematerialise
from kmmft.training.resumable_fit import resumable_fit
from kmmft.training.run_directory import RunDirectory
from kmmft.training.source_counts import SourceCounts
from kmmft.training.step_options import StepOption
from kmmft.training.strategies import make_strategy

__all__ = [
    "SGD",
    "AdamW",
    "AudioEncoderConfig",
    "AudioRecipeConfig",
    "Checkpointer",
    "DistributedTraining",
    "DropoutSeeds",
    "RecipeConfig",
    "RunDirectory",
    "SourceCounts",
    "StepOption",
    "UpdateRule",
    "adamw",
    "check_one_source",
    "fit_classifier",
    "fit_pairs",
    "fresh_session",
    "make_strategy",
    "parse_config",
    "project_conflicts",
    "rematerialise",
    "resumable_fit",
    "run_recipe",
]
