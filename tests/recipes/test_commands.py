"""The recipes' commands in README and docstrings are ones that they take."""

import importlib
import pathlib
import re
import shlex

import pytest

from kmmft.training import parse_config

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = re.compile(r"python -m (recipes\.[a-z_]+)((?:\\\n|[^\n`;&#])*)")


def commands() -> list[tuple[str, str]]:
    texts = [path.read_text() for path in sorted((ROOT / "recipes").glob("*.py"))]
    # In docstrings a backslash stands for itself only if there are two.
    texts = [text.replace("\\\\\n", "\\\n") for text in texts]
    found = COMMAND.findall("\n".join([(ROOT / "README.md").read_text(), *texts]))
    return sorted({(module, " ".join(flags.split())) for module, flags in found})


@pytest.mark.parametrize(("module", "flags"), commands())
def test_command_is_taken(module, flags, capsys):
    recipe = importlib.import_module(module)
    words = shlex.split(flags.replace("\\ ", " "))
    if "..." in words:
        pytest.skip("shows that more flags follow")
    parse_config(recipe.Config, recipe.PRESETS, words)
