"""Makes the files in `huggingface/` with Hugging Face's own `datasets`.

pip install datasets==5.2.0 pillow
python tests/tfrecords_tools/sources/golden/make_huggingface.py
"""

import io
import pathlib
import shutil

import datasets
import PIL.Image

FOLDER = pathlib.Path(__file__).parent / "huggingface"


def picture(level: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), (level, 0, 255 - level)).save(stream, "PNG")
    return stream.getvalue()


def rows(split: str, count: int) -> datasets.Dataset:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "captions": datasets.List(datasets.Value("string")),
            "sentences": [{"raw": datasets.Value("string")}],
            # Neither sorted nor all in use.
            "label": datasets.ClassLabel(names=["wolf", "cat", "axolotl"]),
            "score": datasets.Value("float32"),
        }
    )
    columns = {
        "image": [
            {"bytes": picture(n + 100 * (split == "test")), "path": f"{n}.png"}
            for n in range(count)
        ],
        "captions": [[f"{split} {n}", f"größer als {n}"] for n in range(count)],
        "sentences": [[{"raw": f"raw {n}"}] for n in range(count)],
        "label": [n % 2 for n in range(count)],
        "score": [n / 2 for n in range(count)],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    both = datasets.DatasetDict({"train": rows("train", 3), "test": rows("test", 2)})
    (FOLDER / "hub" / "data").mkdir(parents=True)
    for split, dataset in both.items():
        path = FOLDER / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        dataset.to_parquet(path)
    both.save_to_disk(FOLDER / "saved")
    # A selection is written by `save_to_disk` as it is, not as indices.
    both["train"].select([2, 0]).save_to_disk(FOLDER / "one")


if __name__ == "__main__":
    main()
