"""Runs a whole grid of settings, and tells spread from difference."""

import json
import logging
import os
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence

from kmmft.training.whole_files import write_whole

Setting = str | int | float
Row = dict[str, Setting]

logger = logging.getLogger(__name__)


def repeated_runs(
    directory: str | os.PathLike,
    points: Sequence[Mapping[str, Setting]],
    run: Callable[..., Mapping[str, float]],
) -> list[Row]:
    """Runs every point of a grid once, and never again.

    Each finished run is a JSON file, written in one step. Called again after a kill,
    this reads what is there and runs what is missing; so more methods or seeds may be
    added later. A directory belongs to one set of fixed settings: those that are not
    in the points must not change, as `kmmft.training.RunDirectory` checks.

    Args:
        directory: Where the files are; made if it is not there.
        points: Settings of each run, such as `{"method": "full", "seed": 0}`.
        run: Called with a point's settings as keywords; returns numbers.

    Returns:
        One dict a point, in their order: the settings and the numbers.

    Raises:
        ValueError: If a run's number has the name of a setting.

    Example:
        >>> rows = kmmft.evaluation.repeated_runs(
        ...     "grid", [{"seed": 0}, {"seed": 1}], lambda seed: {"accuracy": seed / 2}
        ... )
        >>> rows[1]
        {'seed': 1, 'accuracy': 0.5}
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, point in enumerate(points):
        file = directory / f"{_file_name(point)}.json"
        if not file.exists():
            logger.info("Run %d of %d: %s", number + 1, len(points), file.stem)
            numbers = dict(run(**point))
            _check_names(point, numbers)
            write_whole(file, json.dumps({**point, **numbers}, indent=2))
        rows.append(json.loads(file.read_text(encoding="utf-8")))
    return rows


def search_and_repeat(
    directory: str | os.PathLike,
    point: Mapping[str, Setting],
    run: Callable[..., Mapping[str, float]],
    *,
    setting: str,
    values: Sequence[Setting],
    score: str,
    seeds: Sequence[int],
) -> list[Row]:
    """Tries the values of one setting with the first seed, and repeats the best one.

    So every method gets as many tries, on the same grid, and the test's numbers play
    no part in the choice as long as `score` is of validation data. Of values with the
    same score the first is chosen, so give those first that you prefer on a tie:
    of learning rates the lowest.

    Args:
        directory: As in `repeated_runs`.
        point: Settings of the method.
        run: As in `repeated_runs`, called with `setting` and `seed` too.
        setting: What is searched, such as `"learning_rate"`.
        values: Its values, the preferred ones first.
        score: Number to choose by, higher is better.
        seeds: Seeds of the repetitions.

    Returns:
        The rows of the best value, one a seed.

    Example:
        >>> rows = kmmft.evaluation.search_and_repeat(
        ...     "search", {"method": "full"},
        ...     lambda method, rate, seed: {"score": -abs(rate - 2) + seed},
        ...     setting="rate", values=[1, 2], score="score", seeds=[0, 1])
        >>> rows[1]
        {'method': 'full', 'rate': 2, 'seed': 1, 'score': 1}
    """
    tried = [{**point, setting: value, "seed": seeds[0]} for value in values]
    best = best_setting(repeated_runs(directory, tried, run), setting, score)
    repeated = [{**point, setting: best, "seed": seed} for seed in seeds]
    return repeated_runs(directory, repeated, run)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; that of one value is NaN, for unknown.

    Args:
        values: One number a run.

    Returns:
        Mean, and the deviation with `len(values) - 1` in the denominator.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> kmmft.evaluation.mean_and_deviation([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    if not values:
        raise ValueError(
            "A mean needs values. Received: none. Run each point at least once."
        )
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return statistics.fmean(values), spread


def best_setting(
    rows: Sequence[Mapping[str, Setting]], setting: str, score: str
) -> Setting:
    """The value of a setting with the highest mean score; the first of equals.

    Args:
        rows: Rows of `repeated_runs`.
        setting: Name of what was searched, such as `"learning_rate"`.
        score: Name of the number to choose by; on validation data, never on the
            test's.

    Returns:
        One of the values.

    Raises:
        ValueError: If there are no rows.

    Example:
        >>> rows = [{"rate": 0.1, "score": 0.5}, {"rate": 0.2, "score": 0.7}]
        >>> kmmft.evaluation.best_setting(rows, "rate", "score")
        0.2
    """
    scores: dict[Setting, list[float]] = {}
    for row in rows:
        scores.setdefault(row[setting], []).append(row[score])
    if not scores:
        raise ValueError(
            f"A search for {setting!r} needs runs. Received: none. Give a grid."
        )
    return max(scores, key=lambda value: statistics.fmean(scores[value]))


def _file_name(point: Mapping[str, Setting]) -> str:
    return "-".join(f"{name}={value}" for name, value in point.items()).replace(
        os.sep, "_"
    )


def _check_names(point: Mapping[str, Setting], numbers: Mapping[str, float]) -> None:
    both = sorted(set(point) & set(numbers))
    if both:
        raise ValueError(
            f"A run's numbers must not be called like its settings. Received: {both} "
            "as both. Rename the numbers."
        )
