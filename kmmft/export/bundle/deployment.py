"""How to run the model: docker compose and Kubernetes, as text."""

import pathlib
import re

from kmmft.export.bundle.templates import render
from kmmft.training.whole_files import write_whole

_FILES = {
    "docker-compose.yml": "docker-compose.yml.jinja",
    "kubernetes/deployment.yaml": "deployment.yaml.jinja",
    "kubernetes/service.yaml": "service.yaml.jinja",
    "kubernetes/autoscaler.yaml": "autoscaler.yaml.jinja",
    "kubernetes/volume.yaml": "volume.yaml.jinja",
    "prometheus_adapter.yaml": "prometheus_adapter.yaml.jinja",
}


def write_deployment(
    base: pathlib.Path, name: str, size_mb: float, latency_target_ms: int
) -> None:
    """Writes `docker-compose.yml`, Kubernetes manifests and the autoscaler's metric.

    Args:
        base: Directory of the versions; the files are written to `serving/` in it.
        name: The model's name on the server.
        size_mb: Size of the model, from which its memory is estimated.
        latency_target_ms: 95th percentile of the latency at which pods are added.
    """
    values = {
        "name": name,
        # Names in Kubernetes are lower case, with hyphens.
        "resource": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50],
        "arguments": _server_arguments(name),
        # Two versions at a time, and room for requests.
        "memory_mb": 1024 + 4 * round(size_mb),
        "volume_gb": 1 + round(10 * size_mb / 1024),
        "latency_target_ms": latency_target_ms,
    }
    for path, template in _FILES.items():
        write_whole(base / "serving" / path, render(template, **values))


def _server_arguments(name: str) -> list[str]:
    folder = f"/models/{name}/serving"
    return [
        f"--model_config_file={folder}/models.config",
        "--model_config_file_poll_wait_seconds=30",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={folder}/batching.config",
        f"--monitoring_config_file={folder}/monitoring.config",
        "--rest_api_timeout_in_ms=30000",
    ]
