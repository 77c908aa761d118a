"""The versions of a model that are served, and how they change while serving."""

import logging
import pathlib
import threading
from collections.abc import Callable

from kmmft.serving.request_error import RequestError
from kmmft.serving.served_model import ServedModel, model_file
from kmmft.serving.version_labels import version_labels

logger = logging.getLogger(__name__)


class ModelVersions:
    """Loads versions as they appear, and lets go of old ones when they are replaced.

    Served are the latest version, and those that have a label in
    `serving/models.config`, which `kmmft.export.export_bundle` and `promote` write.
    A version is loaded and warmed up before it takes over; requests that an old one is
    still answering are answered to the end. One that cannot be loaded is left out, and
    the others go on.

    Args:
        base: Directory of the versions, such as `runs/quickstart/export`.
        on_load: Called with each version that was loaded.

    Raises:
        ValueError: If there is no version that can be loaded.
    """

    def __init__(
        self,
        base: str | pathlib.Path,
        on_load: Callable[[ServedModel], None] = lambda model: None,
    ):
        self.base = pathlib.Path(base)
        self._on_load = on_load
        self._models: dict[int, ServedModel] = {}
        self._labels: dict[str, int] = {}
        self._broken: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.refresh()
        if not self._models:
            raise ValueError(
                "There must be a version to serve, a directory that is named by a "
                f"number and holds a model. Received: {self.base}."
            )

    @property
    def numbers(self) -> list[int]:
        """Versions that are served."""
        return sorted(self._models)

    def choose(self, version: int | None = None, label: str | None = None):
        """The model that answers a request.

        Args:
            version: Number of a version; `None` for what is labelled stable, or else
                the latest.
            label: Label of a version, such as canary.

        Raises:
            RequestError: If there is no such version.
        """
        # Both are replaced, never changed: a reload does not disturb.
        models, labels = self._models, self._labels
        if label is not None:
            if label not in labels or labels[label] not in models:
                raise RequestError(
                    f"There is no version with the label {label!r}; there are "
                    f"{sorted(labels) or 'no labels'}.",
                    status=404,
                )
            version = labels[label]
        if version is None:
            version = labels.get("stable")
            version = version if version in models else max(models)
        if version not in models:
            raise RequestError(
                f"Version {version} is not served; there are {sorted(models)}.",
                status=404,
            )
        return models[version]

    def refresh(self) -> None:
        """Looks for versions and labels anew."""
        found = {
            int(path.name): path
            for path in self.base.glob("[0-9]*")
            if path.name.isdigit() and model_file(path) is not None
        }
        labels = {k: v for k, v in version_labels(self.base).items() if v in found}
        models = {}
        for number in sorted({max(found, default=0), *labels.values()} & set(found)):
            model = self._models.get(number) or self._load(found[number])
            if model is not None:
                models[number] = model
        # Better an old version than none.
        self._models = models or self._models
        self._labels = labels

    def _load(self, path: pathlib.Path) -> ServedModel | None:
        number = int(path.name)
        written = model_file(path).stat().st_mtime
        if self._broken.get(number) == written:
            return None
        try:
            model = ServedModel(path)
            count = model.warm_up()
        except (ValueError, RequestError) as error:
            self._broken[number] = written
            logger.error("Version %d is not served: %s", number, error)
            return None
        logger.info("Serving version %d, after %d warm-up requests", number, count)
        self._on_load(model)
        return model

    def watch(self, every_seconds: float) -> None:
        """Looks for new versions again and again, in a thread, until `close`."""

        def run():
            while not self._stop.wait(every_seconds):
                try:
                    self.refresh()
                except Exception:
                    logger.exception("Looking for versions failed; trying again")

        self._thread = threading.Thread(target=run, name="versions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
