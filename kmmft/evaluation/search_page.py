"""What a search found, as one self-contained page."""

import dataclasses
import importlib.resources
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kmmft.evaluation.report_figures import image_uri
from kmmft.evaluation.search_index import Hit
from kmmft.training.whole_files import write_whole

TINY_PIXELS = 100


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """One question and what was found.

    Attributes:
        query: Words, or an image: encoded, or pixels in [0, 255].
        hits: What was found, best first.
        expected: Ids that are right, to be marked among the hits.
    """

    query: str | bytes | np.ndarray
    hits: Sequence[Hit]
    expected: Sequence[str] = ()


def write_search_page(
    path: str | os.PathLike,
    results: Sequence[SearchResult],
    images: Mapping[str, bytes | np.ndarray],
    *,
    title: str = "Search",
    caption: str = "caption",
    notes: str = "",
) -> pathlib.Path:
    """Writes questions and the pictures that they found as one HTML page.

    The page holds the pictures, made small, and loads nothing from anywhere.

    Args:
        path: File to write. It is replaced in one step.
        results: Questions with their hits.
        images: Picture by id of hit: encoded, or pixels in [0, 255]. A hit that is not
            among them is shown by its caption alone.
        title: Heading of the page.
        caption: Which of a hit's metadata to show below its picture.
        notes: A paragraph below the heading.

    Returns:
        The path.

    Raises:
        ValueError: If there is no result, or an image cannot be read.

    Example:
        >>> index = kmmft.evaluation.SearchIndex(np.eye(2), ids=["night", "day"])
        >>> hits = index.search([[0.2, 1.0]], k=2)[0]
        >>> path = kmmft.evaluation.write_search_page(
        ...     "search.html",
        ...     [kmmft.evaluation.SearchResult("sun", hits, expected=["day"])],
        ...     images={"day": np.full((8, 8, 3), 255), "night": np.zeros((8, 8, 3))},
        ... )
    """
    import jinja2

    if not results:
        raise ValueError(
            "A page needs a result to show. Received: results=[]. Ask something first."
        )
    source = importlib.resources.files("kmmft.evaluation") / "search_page.html.jinja"
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined
    ).from_string(source.read_text(encoding="utf-8"))
    found = {hit.id for result in results for hit in result.hits}
    pictures = {id: image_uri(images[id]) for id in sorted(found & set(images))}
    page = template.render(
        title=title,
        notes=notes,
        results=[_result(result, pictures, caption) for result in results],
    )
    return write_whole(pathlib.Path(path), page)


def _result(
    result: SearchResult, pictures: Mapping[str, tuple[str, int]], caption: str
) -> dict:
    in_words = isinstance(result.query, str)
    hits = []
    for hit in result.hits:
        uri, side = pictures.get(hit.id, (None, 0))
        hits.append(
            {
                "id": hit.id,
                "uri": uri,
                # Blocks are truer than a blur where a picture is drawn much larger.
                "tiny": side <= TINY_PIXELS,
                "caption": hit.metadata.get(caption, ""),
                "score": f"{hit.score:.3f}",
                "expected": hit.id in result.expected,
            }
        )
    return {
        "query": result.query if in_words else "",
        "query_uri": None if in_words else image_uri(result.query)[0],
        "hits": hits,
    }
