"""What encoded images say of themselves, read in graph before they are decoded."""

import tensorflow as tf

HEADER_BYTES = 32
_MOST_GIF_BLOCKS = 4096
_KINDS = {
    "jpeg": [(0, b"\xff\xd8\xff")],
    "png": [(0, b"\x89PNG\r\n\x1a\n"), (12, b"IHDR")],
    "gif": [(0, b"GIF8")],
    "bmp": [(0, b"BM")],
    "webp": [(0, b"RIFF"), (8, b"WEBPVP8")],
}


def read_header(encoded: tf.Tensor) -> tf.Tensor:
    """The first bytes of a file, uint8 `(32,)`, with zeros where there are fewer."""
    return tf.io.decode_raw(encoded, tf.uint8, fixed_length=HEADER_BYTES)


def has(header: tf.Tensor, start: int, magic: bytes) -> tf.Tensor:
    """Whether a header has these bytes at this place, a bool scalar."""
    part = header[start : start + len(magic)]
    return tf.reduce_all(part == tf.constant(list(magic), tf.uint8))


def unsupported(header: tf.Tensor) -> dict[str, tf.Tensor]:
    """Kinds that TensorFlow decodes wrongly: what to say, and whether it is one."""
    return {
        "Animated WebP is not supported: save its first frame as a still image.": (
            has(header, 8, b"WEBPVP8X") & (header[20] & 2 > 0)
        ),
        "BMP with a palette is not supported: save it as PNG.": (
            has(header, 0, b"BM") & (header[28] < 24)
        ),
    }


def image_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Reads from its header how many pixels an image has, without decoding it.

    A GIF is decoded with all its frames, at one byte a pixel where other images take
    three; so a third of all frames' pixels counts if that is more than one frame's.

    Args:
        encoded: scalar string tensor, the bytes of the file.

    Returns:
        int64 scalar; 0 for what is not a JPEG, PNG, GIF, BMP or WebP image.

    Raises:
        tf.errors.InvalidArgumentError: When a JPEG has no readable header.

    Example:
        >>> png = tf.io.encode_png(tf.zeros((40, 60, 3), tf.uint8))
        >>> kmmft.data.image_pixels(png).numpy().item()
        2400
    """
    header = read_header(encoded)
    matches = [
        tf.reduce_all([has(header, start, magic) for start, magic in magics])
        for magics in _KINDS.values()
    ]
    kind = tf.argmax([False, *matches], output_type=tf.int32)
    readers = {
        "jpeg": lambda: _jpeg(encoded),
        "png": lambda: (
            little_endian(header[19:15:-1]) * little_endian(header[23:19:-1])
        ),
        "gif": lambda: _gif(encoded),
        "bmp": lambda: _bmp(header),
        "webp": lambda: _webp(header),
    }
    nothing = [lambda: tf.constant(0, tf.int64)]
    return tf.switch_case(kind, nothing + [readers[name] for name in _KINDS])


def little_endian(part: tf.Tensor) -> tf.Tensor:
    """Bytes as an unsigned number, int64, the lowest byte first."""
    powers = [256**place for place in range(part.shape[0])]
    return tf.reduce_sum(tf.cast(part, tf.int64) * tf.constant(powers, tf.int64))


def _jpeg(encoded: tf.Tensor) -> tf.Tensor:
    shape = tf.io.extract_jpeg_shape(encoded, output_type=tf.int32)
    return tf.reduce_prod(tf.cast(shape[:2], tf.int64))


def _bmp(header: tf.Tensor) -> tf.Tensor:
    width, height = little_endian(header[18:22]), little_endian(header[22:26])
    # Rows from top to bottom are told by a negative height.
    return width * tf.minimum(height, 2**32 - height)


def _webp(header: tf.Tensor) -> tf.Tensor:
    lossy = [little_endian(header[start : start + 2]) % 2**14 for start in (26, 28)]
    bits = little_endian(header[21:25])
    lossless = [bits // step % 2**14 + 1 for step in (1, 2**14)]
    extended = [little_endian(header[start : start + 3]) + 1 for start in (24, 27)]
    kind = tf.where(header[15] == ord("L"), 1, tf.where(header[15] == ord("X"), 2, 0))
    sizes = tf.stack([tf.stack(size) for size in (lossy, lossless, extended)])
    return tf.reduce_prod(sizes[kind])


def _gif(encoded: tf.Tensor) -> tf.Tensor:
    data = tf.cast(tf.io.decode_raw(encoded, tf.uint8), tf.int32)
    end = tf.size(data)
    # Some bytes more, so that what is cut short is read as zeros.
    data = tf.concat([data, tf.zeros([16], tf.int32)], 0)
    behind = _behind_sub_blocks(data)

    def table(flags):
        return tf.where(flags >= 0x80, 3 * 2 ** (flags % 8 + 1), 0)

    def side(place):
        return tf.cast(data[place] + 256 * data[place + 1], tf.int64)

    def goes_on(place, blocks, *_):
        kind = data[tf.minimum(place, end)]
        is_block = (kind == 0x21) | (kind == 0x2C)
        return (place < end) & is_block & (blocks < _MOST_GIF_BLOCKS)

    def read_block(place, blocks, width, height, total):
        is_frame = data[place] == 0x2C
        # An extension has its kind before its sub-blocks; a frame has its place, size,
        # colours and the size of its codes.
        sub_blocks = tf.where(is_frame, place + 11 + table(data[place + 9]), place + 2)
        new_width = tf.where(is_frame, side(place + 5), 0)
        new_height = tf.where(is_frame, side(place + 7), 0)
        return (
            behind[tf.minimum(sub_blocks, end)],
            blocks + 1,
            tf.maximum(width, new_width),
            tf.maximum(height, new_height),
            total + new_width * new_height,
        )

    none = tf.constant(0, tf.int64)
    start = (13 + table(data[10]), 0, none, none, none)
    _, blocks, width, height, total = tf.while_loop(goes_on, read_block, start)
    # More blocks than anybody needs are refused like too many pixels.
    total = tf.where(blocks < _MOST_GIF_BLOCKS, total, tf.int64.max)
    return tf.maximum(width * height, total // 3)


def _behind_sub_blocks(data: tf.Tensor) -> tf.Tensor:
    """Where the chain of sub-blocks that begins at each byte is over.

    Each byte is taken as the length of a sub-block; 0 ends a chain. Following all
    chains at once, twice as far each time, takes a few steps, not one for each block.
    """
    places = tf.range(tf.size(data))
    onwards = tf.where(data > 0, places + data + 1, places)
    onwards = tf.minimum(onwards, tf.size(data) - 1)

    def follow(now, before):
        del before
        return tf.gather(now, now), now

    last, _ = tf.while_loop(
        lambda now, before: tf.reduce_any(now != before), follow, (onwards, places)
    )
    return last + 1
