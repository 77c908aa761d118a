"""Writes a Python client of one served model, in one file."""

import json
import keyword
import pathlib
import re

from kmmft.export.bundle import client, messages
from kmmft.export.bundle.signature_table import Table, describe
from kmmft.export.bundle.templates import render


def client_source(name: str, version: int, table: Table) -> str:
    """The source of a module with a class `Client`, a method for each signature.

    Args:
        name: The model's name on the server.
        version: Number of the version, for the docstring.
        table: Its signatures.

    Returns:
        Python, which needs `requests` for REST or `grpc` for gRPC and no more.
        Signatures whose names are no Python names are left to `predict`.
    """
    methods = {
        signature: {
            kind: {key: describe(spec) for key, spec in specs.items()}
            for kind, specs in kinds.items()
        }
        for signature, kinds in table.items()
        if all(_is_name(word) for word in (signature, *kinds["inputs"]))
    }
    own = render(
        "client.py.jinja",
        name=name,
        version=version,
        methods=methods,
        signatures_json=json.dumps(table, indent=2),
    )
    parts = [pathlib.Path(x.__file__).read_text("utf-8") for x in (client, messages)]
    parts[0] = re.sub(r"\nfrom kmmft[^()]*\([^()]*\)\n", "", parts[0])
    return "\n\n".join(parts) + own


def _is_name(word: str) -> bool:
    taken = keyword.iskeyword(word) or hasattr(client.ServingClient, word)
    return word.isidentifier() and not taken and word != "self"
