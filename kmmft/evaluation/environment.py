"""What a run ran on: versions, processors, memory, accelerators."""

import importlib.metadata
import os
import platform
import resource
import sys

import tensorflow as tf

from kmmft.data.cores import usable_cores

PACKAGES = (
    "kmmft",
    "tensorflow",
    "keras",
    "keras-hub",
    "tensorflow-text",
    "tensorflow-datasets",
    "numpy",
)


def environment() -> dict[str, str | int | float]:
    """Describes the software and hardware of this process.

    Returns:
        A flat dict: `python`, the version of each package kmmft stands on (one that
        is not installed is left out), `platform`, `processor`, `cpu_cores` (those
        that this process may use), `memory_gb`, and `gpus` (names, or "none").

    Example:
        >>> sorted(kmmft.evaluation.environment())[:3]
        ['cpu_cores', 'gpus', 'keras']
    """
    described = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        described[package.replace("-", "_")] = version
    described["platform"] = f"{platform.system()} {platform.machine()}"
    described["processor"] = _processor()
    described["cpu_cores"] = usable_cores()
    described["memory_gb"] = round(_memory_bytes() / 2**30, 1)
    described["gpus"] = ", ".join(_gpus()) or "none"
    return described


def peak_memory_mb() -> float:
    """Largest amount of main memory that this process has held so far, in MiB.

    Returns:
        The peak of the resident set. It never falls within one process.

    Example:
        >>> kmmft.evaluation.peak_memory_mb() > 10
        True
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[str]:
    return [
        tf.config.experimental.get_device_details(device).get(
            "device_name", device.name
        )
        for device in tf.config.list_physical_devices("GPU")
    ]
