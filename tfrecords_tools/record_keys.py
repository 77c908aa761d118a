"""Says what is wrong with a record that does not have the keys of its features."""

import difflib
from collections.abc import Collection


def wrong_keys(record_id: str, split: str, keys: Collection, wanted: Collection) -> str:
    """One sentence that names the keys that are missing and those that are unknown.

    Args:
        record_id: Id of the record.
        split: Its split.
        keys: The keys that it has.
        wanted: The keys that it must have.

    Example:
        >>> wrong_keys("a", "train", {"id", "captoin"}, {"id", "caption"})[-49:]
        "with unknown 'captoin'; the keys are caption, id."
    """
    message = (
        "A record must have the keys of the features. Received: record "
        f"{record_id!r} of split {split!r}"
    )
    for key in sorted(set(wanted) - set(keys)):
        near = difflib.get_close_matches(key, keys, n=1)
        message += f" without {key!r}" + (f" (but {near[0]!r})" if near else "")
    unknown = sorted(set(keys) - set(wanted))
    if unknown:
        message += f" with unknown {', '.join(map(repr, unknown))}"
    return f"{message}; the keys are {', '.join(sorted(wanted))}."
