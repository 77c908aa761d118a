"""Searches a recipe's settings: by chance, a grid, or what earlier trials suggest.

Each trial is a run of the recipe in a process and a directory of its own; its score is
the best value of a column of its history.csv, which must be one of validation data.
Trials that fall behind are stopped early with `--pruner asha`. The same command goes on
after a kill, and with a larger `--trials` looks further. Needs `kmmft[tune]`.

    python -m recipes.tune --recipe visual_question_answering \\
        --recipe_flags="--preset quickstart" --metric val_accuracy \\
        --trials 20 --pruner asha \\
        --search learning_rate=1e-4..1e-2:log "fusion=concat|bilinear"
    python -m recipes.tune --preset smoke
"""

import dataclasses
import importlib
import shlex
from typing import Any

import kmmft
from kmmft.evaluation import Table

from .tuning.charts import search_section
from .tuning.search_study import PRUNERS, SAMPLERS, ended, open_study, run_trials
from .tuning.space import Space, parse_space


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one search."""

    recipe: str = ""
    """A recipe, such as contrastive, or any module with Config and PRESETS."""
    recipe_flags: str = ""
    """Flags that all runs of the recipe have, as on its command line, behind an equals
    sign: --recipe_flags="--preset smoke --epochs 2"."""
    search: tuple[str, ...] = ()
    """What to search: NAME=a|b|c, NAME=LOW..HIGH or NAME=LOW..HIGH:log, ..."""
    metric: str = "val_accuracy"
    """Column of the runs' history.csv; a run's score is the best value in it."""
    mode: str = "max"
    """Whether more is better (max) or less (min)."""
    trials: int = 20
    """How many trials there are in all."""
    jobs: int = 1
    """How many run at a time, on one machine."""
    sampler: str = "tpe"
    """tpe (what earlier trials suggest), random or grid."""
    pruner: str = "none"
    """none, or asha: runs that are behind after some epochs are stopped."""
    output_dir: str = "runs/tune"
    """Directory of the search. The same command goes on with one that was killed."""
    seed: int = 0
    """Seed of the search; the runs have the recipe's."""
    resume: bool = True
    """Whether to go on with the search in output_dir."""

    def __post_init__(self):
        known = {"mode": ("max", "min"), "sampler": SAMPLERS, "pruner": PRUNERS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"`--{name}` must be one of {', '.join(values)}. "
                    f"Received: {getattr(self, name)!r}."
                )
        for name in ("trials", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        if not self.recipe or not self.search:
            raise ValueError(
                "`--recipe` and `--search` must be given. Received: "
                f"recipe={self.recipe!r}, search={self.search!r}."
            )


class SearchDirectory(kmmft.training.RunDirectory):
    """A search may look further than was first asked for."""

    FREE_FIELDS = (*kmmft.training.RunDirectory.FREE_FIELDS, "trials", "jobs")


PRESETS = {
    "default": Config(
        recipe="contrastive",
        search=("learning_rate=1e-5..1e-2:log",),
        metric="val_mean_recall",
    ),
    "smoke": Config(
        recipe="multimodal_classification",
        recipe_flags="--preset smoke",
        search=("learning_rate=1e-4|3e-3",),
        sampler="grid",
        trials=2,
        output_dir="runs/tune_smoke",
    ),
}


def open_recipe(config: Config) -> tuple[str, Any]:
    """Module and configuration of the recipe, with the flags of all runs."""
    name = config.recipe if "." in config.recipe else f"recipes.{config.recipe}"
    try:
        recipe = importlib.import_module(name)
        kind, presets = recipe.Config, recipe.PRESETS
    except (ImportError, AttributeError) as error:
        raise ValueError(
            "`--recipe` must be a recipe, or a module with Config and PRESETS. "
            f"Received: {config.recipe!r} ({error})."
        ) from error
    flags = shlex.split(config.recipe_flags)
    return name, kmmft.training.parse_config(kind, presets, flags)


def state_of(trial: Any) -> str:
    """How a trial ended, or of which one it has its values and its score."""
    same = trial.user_attrs.get("same_as")
    return trial.state.name.lower() if same is None else f"as trial {same}"


def results(study: Any, space: Space, config: Config) -> Table:
    rows = [
        [
            trial.number,
            # As text: a rate is no share, though it lies between 0 and 1.
            *(
                f"{value:.4g}" if isinstance(value, float) else str(value)
                for value in map(trial.params.get, space)
            ),
            float(trial.value),
            len(trial.intermediate_values),
            state_of(trial),
        ]
        for trial in ended(study)
    ]
    return Table(
        "Trials, the best first",
        ["trial", *space, config.metric, "epochs", "state"],
        rows,
        highlight=0,
        note="The best of many validations is above what a new test set will show.",
    )


def main(config: Config) -> dict[str, float]:
    """Searches and writes the report; returns its numbers."""
    module, base = open_recipe(config)
    space = parse_space(config.search, base)
    with SearchDirectory(config.output_dir, config, config.resume) as directory:
        study = open_study(
            directory.path / "study.log",
            space,
            sampler=config.sampler,
            pruner=config.pruner,
            mode=config.mode,
            seed=config.seed,
        )
        run_trials(
            study,
            space,
            config.trials,
            config.jobs,
            config.metric,
            module=module,
            flags=shlex.split(config.recipe_flags),
            folder=directory.path / "trials",
        )
        found = ended(study)
        if not found:
            raise ValueError(
                "A search needs a trial that ends well. Received: none of "
                f"{len(study.trials)}. See {directory.path}/run.log."
            )
        return write_results(config, directory, study, space)


def write_results(
    config: Config, directory: SearchDirectory, study: Any, space: Space
) -> dict[str, float]:
    trials = ended(study)
    metrics = {f"best/{config.metric}": trials[0].value, "trials": len(trials)}
    table = results(study, space, config)
    in_order = sorted(trials, key=lambda trial: trial.number)
    section = search_section(
        [trial.value for trial in in_order],
        [trial.params for trial in in_order],
        space,
        config.metric,
        config.mode,
    )
    kmmft.evaluation.write_report(
        directory.report,
        title=f"Search of {config.recipe}",
        metrics=metrics,
        history={},
        examples=[],
        confusion=None,
        config=directory.config,
        tables=[table],
        sections=[section],
    )
    directory.write_metrics(metrics)
    kmmft.evaluation.print_table(table)
    best = trials[0].user_attrs["directory"]
    kmmft.evaluation.print_line(f"Best run: {best}")
    kmmft.evaluation.print_line(f"Report: {directory.report}")
    return metrics


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
