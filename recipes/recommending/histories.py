"""Who chose what, in order: read from a file or made up, and split by time."""

import dataclasses
import datetime
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.sources.manifest_cells import text_cell
from tfrecords_tools.sources.manifest_rows import read_rows

logger = logging.getLogger(__name__)

# One item to test with, one to validate with, and one to learn from after another.
FEWEST = 4


@dataclasses.dataclass(frozen=True)
class Histories:
    """Items of each user in order, as numbers. The last two are held out.

    Attributes:
        users: Names.
        items: For each user an int array of different items, `FEWEST` or more.
        num_items: How many items there are in all.
    """

    users: list[str]
    items: list[np.ndarray]
    num_items: int

    def held_out(self, split: str) -> tuple[list[np.ndarray], np.ndarray]:
        """What each user had chosen, and the item that came next.

        Args:
            split: `"validation"` or `"test"`: the last item but one, or the last.
        """
        place = {"validation": -2, "test": -1}[split]
        before = [chosen[:place] for chosen in self.items]
        return before, np.array([chosen[place] for chosen in self.items])

    def training_counts(self) -> np.ndarray:
        """How often each item is in the training part, int `(num_items,)`."""
        known = np.concatenate([chosen[:-2] for chosen in self.items])
        return np.bincount(known, minlength=self.num_items)

    def training_examples(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Each next item of the training part, and the items before it.

        Args:
            length: Items of a history, the latest ones.

        Returns:
            int32 arrays: histories `(examples, length)`, which begin with -1 where
            they are shorter, and next items `(examples,)`.
        """
        pasts, following = [], []
        for chosen in self.items:
            for place in range(1, len(chosen) - 2):
                latest = chosen[max(0, place - length) : place]
                pasts.append(
                    np.pad(
                        latest,
                        (length - len(latest), 0),
                        "constant",
                        constant_values=-1,
                    )
                )
                following.append(chosen[place])
        return np.array(pasts, np.int32), np.array(following, np.int32)


def collect_histories(chosen: Mapping[str, Sequence[int]], num_items: int) -> Histories:
    """Leaves out repetitions, and users of fewer than `FEWEST` items.

    Args:
        chosen: Items of each user, in order.
        num_items: How many items there are.

    Raises:
        ValueError: If no user is left.
    """
    distinct = {user: list(dict.fromkeys(items)) for user, items in chosen.items()}
    kept = {user: x for user, x in distinct.items() if len(x) >= FEWEST}
    if not kept:
        raise ValueError(
            f"There must be users who chose {FEWEST} different items or more. "
            f"Received: {len(distinct)} users, none of whom did."
        )
    if len(kept) < len(distinct):
        left_out = len(distinct) - len(kept)
        logger.warning(
            "%d of %d users chose fewer than %d different items and are left out",
            left_out,
            len(distinct),
            FEWEST,
        )
    return Histories(
        list(kept), [np.array(x, np.int64) for x in kept.values()], num_items
    )


def read_histories(
    path: str,
    item_ids: Sequence[str],
    user_column: str = "user",
    item_column: str = "item",
    time_column: str = "",
    skip_bad: bool = False,
) -> Histories:
    """Reads a CSV, TSV, JSONL or Parquet file, a row for each item that a user chose.

    Args:
        path: The file.
        item_ids: Ids of the items, by number.
        user_column: Column of users.
        item_column: Column of items' ids.
        time_column: Column to sort by, of finite numbers or of ISO dates; those without
            a time zone are in local time. Empty: as in the file.
        skip_bad: Whether rows are left out that cannot be read, or whose item or time
            is not there.

    Raises:
        ValueError: If there is such a row and they are not left out, times are of two
            kinds, or no user is left.
    """
    numbers = {name: number for number, name in enumerate(item_ids)}
    columns = [user_column, item_column, *([time_column] if time_column else [])]
    rows, kinds, bad_rows = [], {}, BadRows(skip_bad)
    for place, row in read_rows(pathlib.Path(path), columns, bad_rows):
        try:
            user, item, *times = (text_cell(row[name], name) for name in columns)
            if item not in numbers:
                raise ValueError(
                    f"Every item must be among the {len(numbers)} that are described. "
                    f"Received: {item!r}. Describe it, or leave the row out."
                )
            kind, time = _time(*times) if times else ("order", len(rows))
        except ValueError as error:
            bad_rows.add(place, str(error))
            continue
        kinds.setdefault(kind, place)
        rows.append((time, user, numbers[item]))
    if len(kinds) > 1:
        (one, first), (other, second) = kinds.items()
        raise ValueError(
            "Times must be all numbers or all dates, to be sorted. Received: a "
            f"{one} in {first}, and a {other} in {second}. Write them alike."
        )
    chosen: dict[str, list[int]] = {}
    # Stable: what happened at one time stays as in the file.
    for _, user, item in sorted(rows, key=lambda row: row[0]):
        chosen.setdefault(user, []).append(item)
    return collect_histories(chosen, len(item_ids))


def _time(text: str) -> tuple[str, float]:
    """What kind of time it is, and its place among others of that kind."""
    try:
        number = float(text)
        if math.isfinite(number):
            return "number", number
    except ValueError:
        pass
    try:
        return "date", datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            "Times must be finite numbers or ISO dates, such as 2024-05-31T12:00. "
            f"Received: {text!r}."
        ) from None


def made_histories(kinds: np.ndarray, num_users: int, seed: int) -> Histories:
    """Makes up users: each likes two kinds of items, and what others like.

    Of a user's 6 to 15 items about 60 % are of the kind that they like most, 30 % of
    the second, and 10 % of any. Within a kind some items are much more popular than
    others. One of ten items is new: nobody has it but some users (30 %) as their last.

    Args:
        kinds: Kind of each item, int `(items,)`, each of at least 15 items.
        num_users: How many users there are.
        seed: Seed of all of it.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(kinds))
    is_new = np.zeros(len(kinds), bool)
    is_new[order[: len(kinds) // 10]] = True
    popularity = 1.0 / (1.0 + random.permutation(len(kinds)) / 10.0)
    names = np.unique(kinds)
    chosen = {}
    for user in range(num_users):
        liked = random.permutation(names)[:2]
        taste = np.full(len(kinds), 0.1 / len(kinds))
        for share, kind in zip((0.6, 0.3), liked, strict=False):
            own = popularity * (kinds == kind) * ~is_new
            taste += share * own / own.sum()
        taste *= ~is_new
        size = random.integers(6, 16)
        size = min(size, int((taste > 0).sum()))
        items = random.choice(
            len(kinds), size, replace=False, p=taste / taste.sum()
        ).tolist()
        fresh = np.flatnonzero(is_new & (kinds == liked[0]))
        if len(fresh) and random.random() < 0.3:
            items[-1] = int(random.choice(fresh))
        chosen[f"user-{user}"] = items
    return collect_histories(chosen, len(kinds))
