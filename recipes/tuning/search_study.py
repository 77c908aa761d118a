"""The search itself: Optuna's study, kept in a file and gone on with after a kill."""

import logging
import pathlib
from typing import TYPE_CHECKING, Any

from .space import Range, Space
from .trial_objective import TrialObjective
from .trial_run import TrialFailed

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "asha")

logger = logging.getLogger(__name__)


def open_study(
    file: pathlib.Path, space: Space, *, sampler: str, pruner: str, mode: str, seed: int
) -> "optuna.Study":
    """Opens a study, or goes on with the one in the file.

    What was being tried when the search was stopped is tried first.

    Raises:
        ValueError: If Optuna is not installed, or a grid is asked for of what is no
            list of choices.
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            f"Searching needs Optuna. Received: {error}. pip install 'kmmft[tune]'."
        ) from error
    # It prints a page for a trial that fails; ours is a line.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="tune",
        direction={"max": "maximize", "min": "minimize"}[mode],
        load_if_exists=True,
    )
    states = optuna.trial.TrialState
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        # As `enqueue_trial`, which forgets the number that a point of a grid has.
        again = {**trial.system_attrs, "fixed_params": trial.params}
        study.add_trial(
            optuna.trial.create_trial(state=states.WAITING, system_attrs=again)
        )
    # Another seed than before the stop, or the same values would be drawn again.
    study.sampler = _sampler(sampler, space, seed + len(study.trials))
    if pruner == "asha":
        study.pruner = optuna.pruners.SuccessiveHalvingPruner()
    else:
        study.pruner = optuna.pruners.NopPruner()
    return study


def run_trials(
    study: "optuna.Study",
    space: Space,
    trials: int,
    jobs: int,
    metric: str,
    **run: Any,
) -> None:
    """Tries values; a trial that fails counts in this call, not in the next one.

    Values that come again, as among few choices, are not run again: what they gave
    counts twice.

    Args:
        study: Of `open_study`.
        space: What is searched.
        trials: How many are wanted, with those that the study has already.
        jobs: How many run at a time.
        metric: Column of the recipes' history; a trial's score is its best value.
        **run: Arguments of `TrialRun` but the values.
    """
    objective = TrialObjective(study, space, metric, **run)
    study.optimize(
        objective,
        n_trials=max(0, trials - len(ended(study))),
        n_jobs=jobs,
        catch=(TrialFailed,),
        callbacks=[lambda study, trial: _log(study, trial, trials)],
    )
    if objective.errors:
        raise objective.errors[0]


def ended(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """Trials that have a score, the best first; of stopped ones that of their end."""
    import optuna

    states = optuna.trial.TrialState
    trials = [
        trial
        for trial in study.get_trials(states=(states.COMPLETE, states.PRUNED))
        if trial.value is not None
    ]
    downwards = study.direction == optuna.study.StudyDirection.MAXIMIZE
    return sorted(trials, key=lambda trial: trial.value, reverse=downwards)


def _sampler(name: str, space: Space, seed: int) -> "optuna.samplers.BaseSampler":
    import optuna

    if name == "grid":
        ranges = [key for key, values in space.items() if isinstance(values, Range)]
        if ranges:
            raise ValueError(
                "A grid needs choices, NAME=a|b|c. Received: a range for "
                f"{', '.join(ranges)}. Name its values, or use another --sampler."
            )
        return optuna.samplers.GridSampler(space, seed=seed)
    samplers = optuna.samplers
    return {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[name](
        seed=seed
    )


def _log(study: "optuna.Study", trial: "optuna.trial.FrozenTrial", trials: int) -> None:
    values = ", ".join(f"{name}={value}" for name, value in trial.params.items())
    scores = ended(study)
    best = f"{scores[0].value:.4g}" if scores else "none yet"
    score = "" if trial.value is None else f" {trial.value:.4g}"
    state = trial.state.name.lower()
    logger.info(
        "Trial %d of %d: %s: %s%s (best: %s)",
        *(len(scores), trials, values, state, score, best),
    )
