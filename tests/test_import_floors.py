"""A file imports only from lower floors of the house, so that it can be read alone."""

import ast
import pathlib

import pytest

FLOORS = {
    "data": 1,
    "layers": 1,
    "losses": 1,
    "metrics": 1,
    "encoders": 2,
    "training": 3,
    "finetuning": 4,
    "models": 5,
    "evaluation": 6,
    "export": 7,
    # Knows nothing of Keras: only TensorFlow and what export wrote.
    "serving": 0,
}
ROOT = pathlib.Path(__file__).parents[1]


def rooms_imported(path: pathlib.Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("kmmft.")}


@pytest.mark.parametrize("room", FLOORS)
def test_imports_only_lower_floors(room):
    for path in sorted((ROOT / "kmmft" / room).rglob("*.py")):
        for other in rooms_imported(path) - {room}:
            assert FLOORS[other] < FLOORS[room], f"{path.name} imports {other}"


def test_tools_import_only_what_reads_records():
    for path in (ROOT / "tfrecords_tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "kmmft"
            ):
                assert node.module in (
                    "kmmft.data",
                    "kmmft.data.framing",
                    "kmmft.data.isolation",
                    "kmmft.data.schema",
                ), path
                if node.module == "kmmft.data":
                    names = {alias.name for alias in node.names}
                    assert names <= {"schema", "open_source", "parse_record"}, path


def test_recipes_do_not_import_recipes():
    for path in (ROOT / "recipes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                module = (node.module or "").split(".")
                assert module[0] != "recipes", path
                # What several share is in a folder.
                assert not node.level or (ROOT / "recipes" / module[0]).is_dir(), path
