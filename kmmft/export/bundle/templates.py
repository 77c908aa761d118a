"""The bundle's text files, made of Jinja templates beside this file."""

import functools
import importlib.resources


def render(template: str, **values) -> str:
    """Fills a template.

    Args:
        template: Name of the file.
        **values: What it names; a name without a value is an error.

    Returns:
        The text, which ends with one line break.
    """
    return _templates().get_template(template).render(**values).rstrip() + "\n"


@functools.cache
def _templates():
    import jinja2

    folder = importlib.resources.files("kmmft.export.bundle")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(folder)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
