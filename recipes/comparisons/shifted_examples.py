"""Test examples that differ from those of training: noise, background, words."""

import numpy as np
import tensorflow as tf

# The same questions in other words.
REWORDED = (
    (r"is there not an? (.*)\?", r"is a \1 missing?"),
    (r"is there an?", "can you see a"),
    ("does the image not contain", "does the picture lack"),
    ("does the image contain", "does the picture show"),
    ("present", "to be seen"),
    ("what color is", "which colour has"),
    ("color", "colour"),
    ("image", "picture"),
)


def reworded(record: dict) -> dict:
    """The record with its question in other words."""
    return {**record, "question": in_other_words(record["question"])}


def in_other_words(question: tf.Tensor) -> tf.Tensor:
    for words, others in REWORDED:
        question = tf.strings.regex_replace(question, words, others)
    return question


def noisy(inputs: dict) -> dict:
    """The images with noise of a standard deviation of 25 of 255."""
    image = inputs["image"]
    noise = np.random.default_rng(0).normal(0, 25, image.shape)
    return {**inputs, "image": np.clip(image + noise, 0, 255).astype("float32")}


def tinted(inputs: dict) -> dict:
    """The images with a pale blue in place of what is nearly white."""
    image = inputs["image"]
    bright = image.min(axis=-1, keepdims=True) > 200
    pale = (image * np.array([0.7, 0.85, 1.0])).astype("float32")
    return {**inputs, "image": np.where(bright, pale, image)}
