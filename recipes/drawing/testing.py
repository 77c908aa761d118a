"""Pictures of the test's texts, and how good they are."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

import kmmft

from .data import build_data
from .settings import Config

# Answers a question about a picture, uint8 `(height, width, 3)`.
Judge = Callable[[np.ndarray, str], str]
QUESTIONS = {
    "shape": "what shape is in the image?",
    "color": "what color is the shape?",
}


def drawing_settings(config: Config) -> dict[str, float]:
    return {
        "guidance_scale": config.guidance_scale,
        "temperature": config.temperature,
        "top_p": config.top_p,
    }


def draw(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.TextToImage,
    ranker: kmmft.models.DualEncoder | None,
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Texts of the test split, pictures of them, and real pictures with theirs."""
    data = build_data(
        config, source, "test", model.image_tokenizer, lambda batch: batch
    )
    real = list(data.unbatch().as_numpy_iterator())
    texts = sorted({record["text"].decode() for record in real})
    texts = [texts[place] for place in evenly(len(texts), config.max_texts)]
    texts = [text for text in texts for _ in range(config.pictures_per_text)]
    settings = drawing_settings(config)
    if ranker is not None:
        settings |= {"ranker": ranker, "candidates": config.candidates}
    pictures = model.generate(texts, seed=config.seed, **settings)
    return (
        texts,
        pictures,
        {
            "image": np.stack([record["image"] for record in real]),
            "text": np.array([record["text"].decode() for record in real]),
        },
    )


def evenly(rows: int, most: int) -> np.ndarray:
    """Numbers of at most so many rows, from the first to the last one."""
    return np.linspace(0, rows - 1, min(rows, most)).astype(int)


def distance(config: Config, drawn: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Fréchet distance of as many drawn as real pictures, by the image encoder.

    One picture has no covariance, and so no distance.
    """
    count = min(len(drawn), len(real))
    if count < 2:
        return {}
    encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    # Drawn pictures are in the order of their texts: the first ones are not like all.
    vectors = [
        encoder.predict(some[evenly(len(some), count)].astype("float32"), verbose=0)
        for some in (drawn, real)
    ]
    found = kmmft.metrics.frechet_distance(*(found["pooled"] for found in vectors))
    return {"test/frechet_distance": found}


def fit(
    scorer: kmmft.models.DualEncoder,
    texts: list[str],
    pictures: np.ndarray,
    real: dict[str, np.ndarray],
) -> dict[str, float]:
    """CLIPScore of drawn pictures, of the same with others' texts, and of real ones."""

    def seen(images):
        # Files, since the scorer may look at pictures of another size.
        files = [tf.io.encode_png(image.astype("uint8")).numpy() for image in images]
        return scorer.encode_image(files)

    drawn, read = seen(pictures), scorer.encode_text(texts)
    names = sorted(set(texts))
    others = scorer.encode_text(
        [names[names.index(text) - len(names) // 2] for text in texts]
    )
    scores = {
        "drawn": kmmft.metrics.clip_scores(drawn, read),
        "others_texts": kmmft.metrics.clip_scores(drawn, others),
        "real": kmmft.metrics.clip_scores(
            seen(real["image"]), scorer.encode_text(real["text"].tolist())
        ),
    }
    return {f"test/clip_score/{name}": float(x.mean()) for name, x in scores.items()}


def open_dual_encoder(path: str) -> kmmft.models.DualEncoder | None:
    """The model that ranks or scores pictures, if one is wanted."""
    return kmmft.models.load_dual_encoder(path) if path else None


def open_judge(path: str) -> Judge | None:
    """The served model that looks at drawn pictures, if one is wanted."""
    if not path:
        return None
    try:
        model = tf.saved_model.load(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            "`--judge` must be a SavedModel, such as runs/quickstart/export/1. "
            f"Received: {path!r} ({error})."
        ) from error
    answer = model.signatures.get("serving_default")
    names = set(answer.structured_input_signature[1]) if answer else set()
    if names != {"image", "question"} or "label" not in answer.structured_outputs:
        raise ValueError(
            "`--judge` must take `image` and `question` and give `label`. Received: "
            f"{path!r}, which takes {sorted(names)}. Take a model of the recipe "
            "visual_question_answering."
        )
    # The model, or its weights would go.
    return lambda picture, question, model=model: (
        answer(image=tf.io.encode_png(picture)[None], question=tf.constant([question]))[
            "label"
        ]
        .numpy()[0]
        .decode()
    )


def judged(judge: Judge, pictures: np.ndarray) -> dict[str, list[str]]:
    """What a judge answers about each picture."""
    return {
        name: [judge(picture, question) for picture in pictures]
        for name, question in QUESTIONS.items()
    }


def recognised(texts: list[str], answers: dict[str, list[str]]) -> dict[str, float]:
    """Shares of pictures whose shape and colour are those of their texts."""
    right = {
        name: np.array([a in t.split() for a, t in zip(found, texts, strict=True)])
        for name, found in answers.items()
    }
    right["shape_and_color"] = right["shape"] & right["color"]
    return {f"test/recognised/{name}": float(ok.mean()) for name, ok in right.items()}
