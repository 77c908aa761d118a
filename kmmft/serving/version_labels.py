"""Which version of an exported model has which label."""

import pathlib
import re


def version_labels(base: pathlib.Path) -> dict[str, int]:
    """Which version has which label, as `serving/models.config` says."""
    path = base / "serving" / "models.config"
    if not path.exists():
        return {}
    pairs = re.findall(r'key: "(\w+)"\s+value: (\d+)', path.read_text())
    return {label: int(version) for label, version in pairs}
