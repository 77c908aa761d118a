"""What an Open Clip Art drawing shows: title and tags, from the metadata in its SVG."""

import dataclasses
import html
import os
import re
from collections.abc import Iterable
from xml.etree import ElementTree

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"

# Their titles are Italian or French, though the metadata say English.
_FOREIGN_CREATORS = ("rollandin", "balin", "guillou")
_FOREIGN_WORDS = frozenset(
    (
        "al",
        "alla",
        "con",
        "da",
        "de",
        "del",
        "della",
        "des",
        "di",
        "du",
        "el",
        "en",
        "et",
        "il",
        "las",
        "le",
        "les",
        "los",
        "na",
        "para",
        "per",
        "por",
        "sur",
        "una",
        "und",
        "une",
        "y",
    )
)
# What the collection's software left behind.
_EMPTY_TAG = re.compile(r"|hash|unsorted|hash\(0x\w+\)|0x\w+", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The metadata of one drawing, cleaned.

    Attributes:
        title: Title, or empty if there is none that says anything.
        tags: Tags, without those that the title says already.
        is_english: Whether title and tags are taken for English.
    """

    title: str
    tags: tuple[str, ...]
    is_english: bool

    def captions(self) -> list[str]:
        """The title, and where there are tags the title with them.

        Example:
            >>> Drawing("Owl on Branch", ("bird", "night"), True).captions()
            ['Owl on Branch', 'Owl on Branch: bird, night']
        """
        if not self.tags:
            return [self.title]
        return [self.title, f"{self.title}: {', '.join(self.tags)}"]


def read_drawing(svg: str | os.PathLike) -> Drawing:
    """Reads the metadata of an SVG file.

    A drawing counts as English if its metadata do not name another language, its
    title has ASCII letters only and no frequent word of another language, and its
    author is none of three who wrote Italian or French.

    Args:
        svg: Path of the file.

    Returns:
        `Drawing`.

    Raises:
        ValueError: If the file cannot be read, or has no metadata.
    """
    try:
        tree = ElementTree.parse(svg)
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(
            f"The drawing {os.fspath(svg)!r} cannot be read ({error}); install "
            "openclipart-svg again."
        ) from error
    work = next((node for node in tree.iter() if node.tag.endswith("}Work")), None)
    if work is None:
        raise ValueError(
            f"The drawing {os.fspath(svg)!r} has no metadata (a cc:Work element); "
            "install openclipart-svg again."
        )
    title = clean_title(_text(work, "title"))
    creator = _text(work, "creator").lower()
    bag = work.find(f"{_DUBLIN_CORE}subject")
    items = [] if bag is None else bag.iter()
    tags = [node.text or "" for node in items if node.tag.endswith("}li")]
    return Drawing(
        title=title,
        tags=clean_tags(tags, besides=(title, creator)),
        is_english=_is_english(title, _text(work, "language"), creator),
    )


def clean_title(raw: str) -> str:
    """A title in plain words, or the empty string.

    HTML escapes are undone, doubled ones too; `_` and the joints of camel case become
    spaces; endings of file names, numbers at the end and "Clipart by ... -" go.

    Example:
        >>> clean_title("Clipart by A. Person - PointingHand_2.svg")
        'Pointing Hand'
    """
    text = html.unescape(html.unescape(raw))
    text = re.sub(r"^clipart by .+? - ", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\.(svg|png|jpe?g|gif)$", "", text.strip(), flags=re.IGNORECASE)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " "))
    text = re.sub(r"(?<=[A-Za-z]{3})[\s#-]*\d+$", "", text.strip())
    text = " ".join(text.split()).strip(" -,.")
    return text if re.search(r"[^\W\d_]{2}", text) else ""


def series_of(title: str) -> str:
    """What is left of a title without what tells the drawings of one series apart.

    Numbers, brackets with what they hold, and "BW" go: two drawings of a series have
    nearly the same caption, and must not be in two splits.

    Example:
        >>> series_of("Hot Dog (B and W)"), series_of("x hatch 4 pattern")
        ('hot dog', 'x hatch pattern')
    """
    plain = re.sub(r"\(.*?\)|[^\w\s]|[\d_]", " ", title.lower())
    words = [word for word in plain.split() if word != "bw"]
    return " ".join(words) or title.lower()


def clean_tags(raw: Iterable[str], besides: Iterable[str] = ()) -> tuple[str, ...]:
    """Tags in plain words, each once, in their order.

    Args:
        raw: The tags as they are written.
        besides: Texts that are no tags: the title, the author.

    Example:
        >>> clean_tags(["", "hash", "signs_and_symbols", "owl"], besides=["Owl"])
        ('signs and symbols',)
    """
    known = {" ".join(text.lower().split()) for text in besides}
    tags = []
    for tag in raw:
        text = html.unescape(html.unescape(tag)).replace("_", " ")
        text = " ".join(text.lower().split())
        if text not in known and not _EMPTY_TAG.fullmatch(text) and text.isascii():
            known.add(text)
            tags.append(text)
    return tuple(tags)


def _text(work: ElementTree.Element, name: str) -> str:
    node = work.find(f"{_DUBLIN_CORE}{name}")
    return "" if node is None else " ".join("".join(node.itertext()).split())


def _is_english(title: str, language: str, creator: str) -> bool:
    words = re.findall(r"[a-z]+", title.lower())
    return (
        title.isascii()
        and re.match(r"en|all|n/a|$", language.lower()) is not None
        and not any(name in creator for name in _FOREIGN_CREATORS)
        and _FOREIGN_WORDS.isdisjoint(words)
    )
