"""Captions of images that lie beside them, or are in their names."""

import pathlib
import re
import urllib.parse


def side_car_captions(image: pathlib.Path) -> list[str]:
    """The lines of the .txt file beside an image: `cat/1.txt` of `cat/1.jpg`.

    Args:
        image: Path of the image.

    Returns:
        Lines that are not blank, without surrounding white space.

    Raises:
        ValueError: If there is no such file, or no text in it.

    Example:
        >>> _ = pathlib.Path("1.txt").write_text("A cat.\\n\\nIt sleeps.\\n")
        >>> side_car_captions(pathlib.Path("1.jpg"))
        ['A cat.', 'It sleeps.']
    """
    path = image.with_suffix(".txt")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(
            f"There is no {path.name!r} beside it with its caption; add one."
        ) from None
    except UnicodeDecodeError:
        raise ValueError(
            f"{path.name!r} beside it is not valid UTF-8; save it as UTF-8."
        ) from None
    except OSError as error:
        raise ValueError(
            f"{path.name!r} beside it cannot be read ({error.strerror}); mend its "
            "permissions."
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path.name!r} beside it is empty; write its caption there.")
    return lines


def caption_in_path(image: pathlib.Path) -> str:
    """The words in an image's name, or in that of its folder if it has no letters.

    `_`, `-`, `+` and `%20` are spaces, and numbers at the end are left out.

    Args:
        image: Path of the image, in the folder of the whole dataset.

    Returns:
        The caption.

    Raises:
        ValueError: If neither name has letters.

    Example:
        >>> caption_in_path(pathlib.Path("cats/a_black-cat_002.jpg"))
        'a black cat'
        >>> caption_in_path(pathlib.Path("grey cats/0017.jpg"))
        'grey cats'
    """
    for name in (image.stem, image.parent.name):
        words = re.sub(r"[\s_+-]+", " ", urllib.parse.unquote(name))
        words = re.sub(r"[\s(\[]*\d+[)\]\s]*$", "", words).strip()
        if any(character.isalpha() for character in words):
            return words
    raise ValueError(
        "There are no words in its name or in that of its folder; rename it, or take "
        "the captions from elsewhere."
    )
