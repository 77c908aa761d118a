"""A recipe without a model, that `recipes.tune` can run in a moment."""

import csv
import dataclasses
import json
import os
import pathlib
import sys
import time


@dataclasses.dataclass(frozen=True)
class Config:
    output_dir: str = ""
    learning_rate: float = 0.5
    width: int = 4
    fast: bool = True
    kind: str = "a"
    names: tuple[str, ...] = ()
    epochs: int = 3
    seconds: float = 0.0


PRESETS = {"default": Config()}


def main(arguments):
    values = dict(flag.removeprefix("--").split("=", 1) for flag in arguments)
    rate, epochs = float(values["learning_rate"]), int(values.get("epochs", 3))
    if rate > 0.9:
        raise SystemExit("error: diverged")
    path, rows = pathlib.Path(values["output_dir"]), []
    starts = int((path / "starts").read_text()) if (path / "starts").exists() else 0
    (path / "starts").write_text(str(starts + 1))
    (path / "pid").write_text(str(os.getpid()))
    for epoch in range(epochs):
        score = 1 - abs(rate - 0.25) - 0.5 ** (epoch + 2)
        rows.append({"epoch": epoch, "val_accuracy": score})
        with (path / "new.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        (path / "new.csv").rename(path / "history.csv")
        time.sleep(float(values.get("seconds", 0)))
    (path / "metrics.json").write_text(json.dumps({}))


if __name__ == "__main__":
    main(sys.argv[1:])
