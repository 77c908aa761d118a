"""Licences of the weights that fine-tuning began with."""

import pathlib
import re

# What `from_preset("demo")` loads, as their packages say.
_DEMO = {
    "image": "EfficientNet-Lite0 (ImageNet), Apache-2.0",
    "text": "all-MiniLM-L6-v2, Apache-2.0",
}
UNKNOWN = "not known to kmmft: see where the weights come from"


def licence_of(handle: str, kind: str) -> str:
    """What is known of the licence of a model's weights.

    Args:
        handle: As for an encoder's `from_preset`.
        kind: `"image"` or `"text"`.

    Returns:
        The name of the licence, from the model card of a local directory if it has
        one, or `UNKNOWN`.

    Example:
        >>> from kmmft.export.bundle.licences import licence_of
        >>> licence_of("demo", "text")
        'all-MiniLM-L6-v2, Apache-2.0'
    """
    if handle == "demo":
        return _DEMO[kind]
    folder = pathlib.Path(handle)
    if not folder.is_dir():
        return UNKNOWN
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
    # The front matter of Hugging Face's model cards.
    found = re.match(r"---\n(?:.*\n)*?license: *(\S+) *\n(?:.*\n)*?---\n", text)
    if found:
        return found.group(1)
    named = sorted(file.name for file in folder.glob("LICEN[SC]E*"))
    return f"in {named[0]} of the base weights" if named else UNKNOWN
