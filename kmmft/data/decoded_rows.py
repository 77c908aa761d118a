"""Decodes batches of images or sounds in which one may be bad, in graph."""

from collections.abc import Callable

import tensorflow as tf

from kmmft.data.image_headers import image_pixels, read_header, unsupported

MAX_PIXELS = 50_000_000
_PARALLEL_CALLS = 8
_DAMAGED = "cannot be decoded: damaged, cut short or empty."


def decode_rows(
    encoded: tf.Tensor,
    decode: Callable[[tf.Tensor], tf.Tensor | dict[str, tf.Tensor]],
    max_pixels: int = MAX_PIXELS,
    may_miss: bool = False,
    fault: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tuple[tf.Tensor | dict[str, tf.Tensor], tf.Tensor]:
    """Decodes each row on its own, so that a bad one spoils no other.

    A graph has no `try`, so the rows go through a small `tf.data` pipeline, which can
    leave out those that fail. An image of too many pixels is refused by its header,
    before any memory is taken for it, and so is what is no JPEG, PNG, GIF, WebP or BMP.

    Args:
        encoded: string tensor `(batch,)` of encoded files, or `(batch, count)` of
            videos' frames, where the empty string fills up. One row at least.
        decode: Makes a tensor, or a dict of tensors, of known shape from one row,
            such as an encoder's `preprocess`.
        max_pixels: Images of more pixels are refused.
        may_miss: Whether an empty string is left to `decode`.
        fault: For what are no images: from one row to why it is bad, as its header
            tells, scalar string; empty if it is good. See `kmmft.data.wav_fault`.

    Returns:
        What `decode` returns, with a batch axis and zeros for the bad rows; and a
        string tensor `(batch,)`, why a row is bad, empty for good ones.

    Example:
        >>> png = tf.io.encode_png(tf.zeros((40, 60, 3), tf.uint8))
        >>> decode_rows = tf.function(
        ...     lambda rows: kmmft.data.decode_rows(
        ...         rows, lambda one: kmmft.data.decode_image(one, 32)
        ...     )
        ... )
        >>> images, errors = decode_rows(tf.stack([png, b"GIF", png]))
        >>> images.shape, errors.numpy()[0], errors.numpy()[1][:40]
        (TensorShape([3, 32, 32, 3]), b'', b'is not a JPEG, PNG, GIF, WebP or BMP ima')
    """
    row = tf.TensorSpec(encoded.shape[1:], tf.string)
    traced = tf.function(decode, input_signature=[row]).get_concrete_function()
    specs = traced.structured_outputs
    blank = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
    may_be_empty = may_miss or encoded.shape.rank > 1

    def decode_row(number):
        one = encoded[number]
        if fault is None:
            found = _first_fault(one, max_pixels, may_be_empty)
        else:
            absent = may_miss & (tf.strings.length(one) == 0)
            found = tf.where(absent, "", fault(one))
        values = tf.cond(found == "", lambda: traced(one), lambda: blank)
        return number, found, values

    rows = tf.shape(encoded, out_type=tf.int64)[0]
    # What failed has the last row's place: that one has always gone well.
    last = tf.data.Dataset.from_tensors((rows, tf.constant(_DAMAGED), blank))
    numbers, faults, values = (
        tf.data.Dataset.range(rows)
        .map(decode_row, num_parallel_calls=_PARALLEL_CALLS)
        .ignore_errors()
        .concatenate(last)
        .batch(rows + 1)
        .get_single_element()
    )
    places = tf.fill([rows + 1], tf.size(numbers) - 1)
    found = tf.range(tf.size(numbers))
    places = tf.tensor_scatter_nd_update(places, numbers[:, tf.newaxis], found)[:-1]

    def in_order(value, shape):
        value = tf.gather(value, places)
        return tf.ensure_shape(value, [encoded.shape[0], *shape])

    values = tf.nest.map_structure(
        lambda value, spec: in_order(value, spec.shape), values, specs
    )
    return values, in_order(faults, [])


def _first_fault(row: tf.Tensor, max_pixels: int, may_be_empty: bool) -> tf.Tensor:
    if row.shape.rank == 0:
        return _fault(row, max_pixels, may_be_empty)
    faults = tf.map_fn(lambda one: _fault(one, max_pixels, may_be_empty), row)
    bad = tf.boolean_mask(faults, faults != "")
    return tf.concat([bad, [""]], 0)[0]


def _fault(encoded: tf.Tensor, max_pixels: int, may_be_empty: bool) -> tf.Tensor:
    """What the header tells against an image; empty if nothing."""
    pixels = image_pixels(encoded)
    size = tf.strings.as_string(pixels)
    too_large = tf.strings.join(
        ["has ", size, f" pixels; at most {max_pixels} are decoded: make it smaller."]
    )
    faults = [
        *unsupported(read_header(encoded)).items(),
        ("is not a JPEG, PNG, GIF, WebP or BMP image.", pixels == 0),
        (too_large, pixels > max_pixels),
    ]
    found = tf.constant("")
    for text, is_so in faults:
        found = tf.where((found == "") & is_so, text, found)
    empty = tf.strings.length(encoded) == 0
    return tf.where(empty, "" if may_be_empty else "is empty.", found)
