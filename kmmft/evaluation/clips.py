"""Frames of a video as one moving picture, for reports."""

import io
from collections.abc import Sequence


def animated_clip(
    frames: Sequence[bytes], longest_side: int = 128, frame_milliseconds: int = 200
) -> bytes:
    """Joins encoded frames into a GIF that plays over and over.

    Args:
        frames: Encoded images, all of one size.
        longest_side: Larger frames are made smaller.
        frame_milliseconds: How long each is shown.

    Returns:
        The bytes of the GIF.

    Raises:
        ValueError: If there are no frames.

    Example:
        >>> frame = tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)).numpy()
        >>> kmmft.evaluation.animated_clip([frame, frame])[:4]
        b'GIF8'
    """
    import PIL.Image

    if not frames:
        raise ValueError("A clip must have a frame. Received: frames=[]. Pass one.")
    pictures = [PIL.Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    for picture in pictures:
        picture.thumbnail((longest_side, longest_side))
    first, *others = pictures
    file = io.BytesIO()
    first.save(
        file,
        "GIF",
        save_all=True,
        append_images=others,
        duration=frame_milliseconds,
        loop=0,
    )
    return file.getvalue()
