"""What is written of a record beside its values: what its file holds."""

from collections.abc import Callable
from typing import Any

from tfrecords_tools.bad_rows import LeftOut
from tfrecords_tools.source_record import SourceRecord


def record_content(
    record: SourceRecord,
    loaded: Any,
    feature: str,
    keep: Callable[[dict[str, Any]], bool] | None,
) -> dict[str, Any] | Exception:
    """The features that were read from the file of a record.

    Args:
        record: The record.
        loaded: What was read: the value of `feature`, a dict of several features, None
            for nothing; or an exception, which is returned as it is.
        feature: Name of the feature that files hold.
        keep: The user's own filter.

    Returns:
        Values by feature, or why the record is not to be written.

    Raises:
        ValueError: If the user's filter raises.
    """
    if isinstance(loaded, Exception):
        return loaded
    content = {} if loaded is None else {feature: loaded}
    if isinstance(loaded, dict):
        content = loaded
    if keep is None:
        return content
    try:
        kept = keep(record.values | content)
    except Exception as error:
        raise ValueError(
            "filter must take any record. Received: record "
            f"{record.values['id']!r}, at which it raised {error!r}."
        ) from error
    return content if kept else LeftOut("filter", "The filter does not want it.")
