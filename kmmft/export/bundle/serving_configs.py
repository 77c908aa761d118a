"""TensorFlow Serving's own configuration files: batching, versions, monitoring."""

import pathlib
import re

from kmmft.export.bundle.templates import render
from kmmft.serving.version_labels import version_labels
from kmmft.training.whole_files import write_whole


def write_serving_configs(
    base: pathlib.Path, name: str, version: int, max_batch_size: int
) -> None:
    """Writes `batching.config`, `monitoring.config` and `models.config`.

    The new version is the canary. What was stable stays so; the first version is both.

    Args:
        base: Directory of the versions; the files are written to `serving/` in it.
        name: The model's name on the server.
        version: The new version.
        max_batch_size: How many rows the server puts together at most.
    """
    sizes = [2**k for k in range(max_batch_size.bit_length()) if 2**k < max_batch_size]
    folder = base / "serving"
    write_whole(
        folder / "batching.config",
        render(
            "batching.config.jinja",
            max_batch_size=max_batch_size,
            sizes=[*sizes, max_batch_size],
        ),
    )
    write_whole(folder / "monitoring.config", render("monitoring.config.jinja"))
    stable = version_labels(base).get("stable", version)
    if not (base / str(stable)).is_dir():
        stable = version
    _write_models_config(base, name, stable, canary=version)


def promote(path: str | pathlib.Path) -> int:
    """Makes the canary stable: a server that watches the file follows.

    Args:
        path: Directory of the versions, such as `runs/quickstart/export`.

    Returns:
        The version that is now both.

    Raises:
        ValueError: If there is no `serving/models.config`.

    Example::

        kmmft.export.promote("runs/quickstart/export")
    """
    base = pathlib.Path(path)
    labels = version_labels(base)
    if "canary" not in labels:
        raise ValueError(
            "`path` must hold serving/models.config with a canary. "
            f"Received: {str(path)!r}. kmmft.export.export_bundle writes it."
        )
    config = (base / "serving" / "models.config").read_text()
    name = re.search(r'name: "([^"]+)"', config).group(1)
    _write_models_config(base, name, labels["canary"], labels["canary"])
    return labels["canary"]


def _write_models_config(
    base: pathlib.Path, name: str, stable: int, canary: int
) -> None:
    text = render(
        "models.config.jinja",
        name=name,
        versions=sorted({stable, canary}),
        labels={"stable": stable, "canary": canary},
    )
    write_whole(base / "serving" / "models.config", text)
