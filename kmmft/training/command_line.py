"""A recipe's command line: a dataclass of settings, presets, one-line errors."""

import argparse
import dataclasses
import gc
import json
import logging
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kmmft.training.recipe_config import RecipeConfig
from kmmft.training.strategies import make_strategy, worker_number

ConfigT = TypeVar("ConfigT")


def parse_config(
    config_class: type[ConfigT],
    presets: Mapping[str, ConfigT],
    arguments: Sequence[str] | None = None,
    description: str | None = None,
) -> ConfigT:
    """Reads a recipe's configuration from its command line.

    Each field of the dataclass is a flag; its docstring is the flag's help. `--preset`
    gives the defaults, or `--config FILE`, the `config.json` of an earlier run.

    Args:
        config_class: A dataclass of numbers, strings, bools and paths.
        presets: Configurations by name; the first is the default one.
        arguments: The command line. Default: that of the process.
        description: What `--help` prints first.

    Returns:
        The configuration.

    Raises:
        ValueError: If there is no such preset, or the file is no configuration.
        SystemExit: For `--help`, and for flags that do not exist.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     epochs: int = 1
        >>> kmmft.training.parse_config(
        ...     Config,
        ...     {"quickstart": Config(), "smoke": Config(epochs=2)},
        ...     ["--preset", "smoke"],
        ... ).epochs
        2
    """
    import tyro

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", default=next(iter(presets)))
    parser.add_argument("--config")
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.preset not in presets:
        raise ValueError(
            f"`--preset` must be one of {', '.join(presets)}. "
            f"Received: {chosen.preset!r}."
        )
    default = presets[chosen.preset]
    if chosen.config:
        default = _read_config(config_class, chosen.config)
    choice = (
        f"--preset {{{','.join(presets)}}} gives the defaults shown (here: "
        f"{chosen.preset}), or --config FILE, the config.json of an earlier run."
    )
    return tyro.cli(
        config_class,
        args=rest,
        default=default,
        description=f"{description or ''}\n\n{choice}",
        use_underscores=True,
    )


def _read_config(config_class: type[ConfigT], path: str) -> ConfigT:
    types = {field.name: field.type for field in dataclasses.fields(config_class)}
    try:
        values = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not an object of settings")
    except (OSError, ValueError) as error:
        raise ValueError(
            "`--config` must name the config.json of a run. "
            f"Received: {path!r} ({error})."
        ) from error
    wrong = [
        f"{name}={value!r}"
        for name, value in values.items()
        if name not in types or not _fits(value, types[name])
    ]
    if wrong:
        raise ValueError(
            f"`--config` must have this recipe's settings. Received: {path!r} with "
            f"{', '.join(wrong)}. Use the config.json of a run of this recipe."
        )
    return config_class(**values)


def _fits(value: Any, kind: Any) -> bool:
    if kind is float and type(value) is int:
        return True
    # JSON tells these four apart, and nothing else.
    return kind not in (bool, int, float, str) or type(value) is kind


def run_recipe(
    main: Callable[[Any], Any],
    config_class: type,
    presets: Mapping[str, Any],
    description: str | None = None,
) -> None:
    """Runs a recipe's `main` from the command line.

    The strategy of a `RecipeConfig` is made first, as TensorFlow wants it. With
    `--strategy multi_worker` each worker but the first has a run directory of its
    own, `workers/K` in `output_dir`, for its log, its checkpoints and its report.

    A `ValueError` (bad data, a wrong setting) or a missing extra becomes one line on
    the standard error and exit code 2; anything else keeps its traceback, since it is
    a fault of ours.

    Args:
        main: The recipe's function of its configuration.
        config_class: As in `parse_config`.
        presets: As in `parse_config`.
        description: As in `parse_config`.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("kmmft").setLevel(logging.INFO)
    try:
        config = parse_config(config_class, presets, description=description)
        if isinstance(config, RecipeConfig):
            config = _set_up(config)
        main(config)
        return
    except (ValueError, ImportError) as error:
        # An extra that is to be installed is named by its command.
        if isinstance(error, ImportError) and "pip install" not in str(error):
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    # Outside the handler the traceback is gone, and the datasets that it held go now:
    # their threads must not wait for an interpreter that is shutting down.
    gc.collect()
    sys.exit(2)


def _set_up(config: RecipeConfig) -> RecipeConfig:
    """Makes the strategy, and gives a worker its own directory."""
    number = worker_number() if config.strategy == "multi_worker" else 0
    replicas = make_strategy(config.strategy).num_replicas_in_sync
    if config.batch_size % replicas:
        raise ValueError(
            "`--batch_size` must divide by the number of replicas. Received: "
            f"{config.batch_size} on {replicas} replicas. Pass a multiple of "
            f"{replicas}."
        )
    if not number:
        return config
    folder = pathlib.Path(config.output_dir, "workers", str(number))
    return dataclasses.replace(config, output_dir=str(folder))
