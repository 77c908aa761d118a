"""The score of a trial, as Optuna asks for it."""

import logging
import threading
from typing import TYPE_CHECKING, Any

from .space import Range, Space
from .trial_run import TrialFailed, TrialRun

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)


class TrialObjective:
    """Draws values, runs the recipe with them, and watches its epochs.

    Values that come again, as among few choices, are not run again.

    Args:
        study: What draws the values.
        space: Of which they are drawn.
        metric: Column of the recipe's history; a trial's score is its best value.
        **run: Arguments of `TrialRun` but the values.

    Attributes:
        errors: What was more than a trial that failed; Optuna's last threads drop it.
    """

    def __init__(self, study: "optuna.Study", space: Space, metric: str, **run: Any):
        import optuna

        upwards = study.direction == optuna.study.StudyDirection.MAXIMIZE
        complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        self.errors: list[Exception] = []
        self._best = max if upwards else min
        self._space, self._metric, self._run = space, metric, run
        self._locks: dict[str, threading.Lock] = {}
        # Number and scores by directory: of equal ones the first, which was run.
        self._finished = {
            trial.user_attrs["directory"]: (trial.number, trial.intermediate_values)
            for trial in reversed(complete)
        }

    def __call__(self, trial: "optuna.Trial") -> float:
        """The score of a trial.

        Raises:
            TrialFailed: If the recipe ends with an error.
            optuna.TrialPruned: If it is behind.
            ValueError: If its history has no such column.
        """
        import optuna

        try:
            return self._score(trial)
        except TrialFailed as error:
            logger.warning("Trial %d failed: %s", trial.number, error)
            raise
        except optuna.TrialPruned:
            raise
        except Exception as error:
            self.errors.append(error)
            raise

    def _score(self, trial: "optuna.Trial") -> float:
        values = {
            name: suggest(trial, name, span) for name, span in self._space.items()
        }
        process = TrialRun(values=values, **self._run)
        directory = str(process.directory)
        trial.set_user_attr("directory", directory)
        # Equal values have one directory, which is of one run at a time.
        with self._locks.setdefault(directory, threading.Lock()):
            if directory in self._finished:
                same_as, scores = self._finished[directory]
                trial.set_user_attr("same_as", same_as)
                for epoch, score in scores.items():
                    trial.report(score, epoch)
            else:
                scores = self._watch(trial, process)
                self._finished[directory] = trial.number, scores
        return self._best(scores.values())

    def _watch(self, trial: "optuna.Trial", process: TrialRun) -> dict[int, float]:
        """The best value so far by epoch of a run that comes to its end."""
        import optuna

        scores = {}
        # A generator that is closed stops its process.
        epochs = process.epochs(self._metric)
        try:
            for epoch, value in epochs:
                scores[epoch] = self._best([value, *scores.values()])
                trial.report(scores[epoch], epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            epochs.close()
        if not scores:
            raise TrialFailed(f"no epoch in {process.directory}/history.csv")
        return scores


def suggest(trial: "optuna.Trial", name: str, values: Range | list) -> Any:
    """Draws a value of a setting.

    Args:
        trial: What it is for.
        name: Name of the setting.
        values: What it may be.
    """
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    kind = "int" if isinstance(values.low, int) else "float"
    draw = getattr(trial, f"suggest_{kind}")
    return draw(name, values.low, values.high, log=values.log)
