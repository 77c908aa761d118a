"""Where a text of each example stands in a prompt."""

import string


def split_prompt(prompt: str) -> tuple[str, str | None, str]:
    """What stands before a prompt's field, the field's name, what stands after it.

    Args:
        prompt: A text with at most one name in braces: `"answer en {question}"`.

    Returns:
        Two texts and the name between them; `None` and an empty text if there is none.

    Raises:
        ValueError: If there are several, or it is no name of another text.

    Example:
        >>> split_prompt("answer {question} in one word")
        ('answer ', 'question', ' in one word')
    """
    try:
        parts = list(string.Formatter().parse(prompt))
        names = [part[1] for part in parts if part[1] is not None]
    except ValueError:  # a brace alone
        parts, names = [], ["image"]
    if len(names) > 1 or not all(n.isidentifier() and n != "image" for n in names):
        raise ValueError(
            "`prompt` must be a text, with the name of at most one other text in "
            "braces, such as 'caption en' or 'answer en {question}'. "
            f"Received: prompt={prompt!r}."
        )
    if not names:
        return "".join(part[0] for part in parts), None, ""
    place = next(i for i, part in enumerate(parts) if part[1] is not None) + 1
    before = "".join(part[0] for part in parts[:place])
    return before, names[0], "".join(part[0] for part in parts[place:])
