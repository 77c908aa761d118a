"""Finds pictures of a folder by words, or by another picture.

The model is a run directory of `recipes.contrastive` or of `recipes.captioning --model
coca`, a `.keras` file, or a CLIP or SigLIP checkpoint. Writes a page of what was found
and an index, which `--reuse_index` takes instead of looking at all pictures again.

    python -m recipes.contrastive --preset smoke && \\
        python -m recipes.search --preset smoke
    python -m recipes.search --model runs/open_clip_art --folder ~/drawings \\
        --words "a flag|an owl at night"
"""

import dataclasses
import pathlib

import numpy as np

import kmmft
from kmmft.evaluation import SearchIndex, SearchResult

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
# Pictures that are read before they are encoded.
PICTURES_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one search."""

    model: str = "runs/contrastive"
    """Run directory of recipes.contrastive or of a coca, .keras file, or checkpoint."""
    folder: str = ""
    """Folder of pictures, with folders in it; shapes: small ones, drawn on the spot."""
    words: str = ""
    """What to look for; several questions are separated by |."""
    picture: str = ""
    """Picture to find like ones of, in place of words."""
    k: int = 10
    """How many to find."""
    output_dir: str = "runs/search"
    """Where search.html and index/ go."""
    reuse_index: bool = False
    """Whether to take the index that is in output_dir."""

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"`--k` must be at least 1. Received: {self.k}.")


PRESETS = {
    "default": Config(),
    "smoke": Config(
        model="runs/contrastive_smoke",
        folder="shapes",
        words="a red square|a blue disc",
        output_dir="runs/search_smoke",
    ),
}


def main(config: Config) -> list[SearchResult]:
    """Searches and writes the page; returns what was found."""
    kmmft.training.check_one_source(words=config.words, picture=config.picture)
    output = pathlib.Path(config.output_dir)
    folder = pathlib.Path(config.folder)
    if config.folder == "shapes":
        folder = output / "pictures"
        kmmft.data.write_colored_shapes(folder)
    model = kmmft.models.load_dual_encoder(config.model)
    if config.reuse_index:
        index = SearchIndex.load(output / "index")
    else:
        index = build_index(model, folder)
        index.save(output / "index")
    results = [
        SearchResult(words, index.query(model, text=words, k=config.k))
        for words in filter(None, config.words.split("|"))
    ]
    if config.picture:
        picture = pathlib.Path(config.picture).read_bytes()
        hits = index.query(model, image=picture, k=config.k)
        results.append(SearchResult(picture, hits))
    found = {hit.id for result in results for hit in result.hits}
    page = kmmft.evaluation.write_search_page(
        output / "search.html",
        results,
        {name: (folder / name).read_bytes() for name in found},
        title=f"Search in {config.folder}",
        caption="name",
        notes=f"{len(index):,} pictures.",
    )
    kmmft.evaluation.print_line(f"Page: {page}")
    return results


def build_index(
    model: kmmft.models.DualEncoder | kmmft.models.CoCa, folder: pathlib.Path
) -> SearchIndex:
    """Encodes all pictures below a folder; their ids are their paths in it."""
    if not folder.is_dir():
        raise ValueError(
            f"`--folder` must be a directory of pictures. Received: {str(folder)!r}."
        )
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    )
    if not names:
        raise ValueError(
            f"`--folder` must hold pictures ({', '.join(ENDINGS)}). "
            f"Received: {str(folder)!r} without one."
        )
    vectors = [
        model.encode_image(
            [(folder / name).read_bytes() for name in names[i : i + PICTURES_AT_ONCE]]
        )
        for i in range(0, len(names), PICTURES_AT_ONCE)
    ]
    return SearchIndex(np.concatenate(vectors), names, [{"name": n} for n in names])


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
