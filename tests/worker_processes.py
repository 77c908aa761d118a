"""Starts two real processes that train together."""

import json
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run_two_workers(module, arguments, folder):
    """Runs `python -m module *arguments` as worker 0 and as worker 1."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    logs = [folder / f"worker_{number}.log" for number in range(2)]
    processes = []
    try:
        for number, log in enumerate(logs):
            task = {"type": "worker", "index": number}
            config = json.dumps({"cluster": cluster, "task": task})
            with log.open("w") as output:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", module, *arguments],
                        cwd=ROOT,
                        env={
                            **os.environ,
                            "CUDA_VISIBLE_DEVICES": "-1",
                            "TF_CONFIG": config,
                        },
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        for process, log in zip(processes, logs, strict=True):
            assert process.wait(timeout=300) == 0, log.read_text()[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
