"""Takes frames out of a video file, and says what is wrong with a bad one."""

import importlib.util
import io
import pathlib
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import PIL.Image

JPEG_QUALITY = 90
# Nearer frames are reached by decoding on: a seek goes back to a key frame.
_SEEK_SECONDS = 5.0
# What browsers show a GIF's frame for if it names no time.
_GIF_FRAME_SECONDS = 0.1
# What PyAV opens, but nobody means by a video.
_NO_VIDEOS = ("image2", "tty")


def read_video(
    path: pathlib.Path | str, num_frames: int = 16, frame_size: int = 256
) -> list[bytes]:
    """Takes frames evenly out of a video.

    The video is cut into `num_frames` stretches of equal time, and the frame that is
    shown in the middle of each is taken. One that would come twice comes once, so a
    video of fewer frames gives all that it has. Frames are turned as the file says
    they are to be shown.

    Args:
        path: GIF file, or any video that PyAV reads, such as MP4 and WebM.
        num_frames: Most frames to take.
        frame_size: Length of a frame's shorter side, unless it is shorter already.

    Returns:
        The frames as JPEG bytes, in order.

    Raises:
        ValueError: If there is no such file, it is no whole video, or PyAV is not
            installed and the file is no GIF.

    Example:
        >>> import PIL.Image
        >>> shades = [PIL.Image.new("L", (8, 6), shade) for shade in (0, 90, 180)]
        >>> shades[0].save("shades.gif", save_all=True, append_images=shades[1:])
        >>> len(read_video("shades.gif", num_frames=2))
        2

    References:
        - [Wang et al., 2016](https://arxiv.org/abs/1608.00859), section 3.1 (one
          frame from each of equal stretches).
    """
    path = pathlib.Path(path)
    check_videos([], num_frames, frame_size)
    read = _gif_frames if _head(path).startswith(b"GIF8") else _stream_frames
    try:
        frames = [_jpeg(frame, frame_size) for frame in read(path, num_frames)]
    except _errors_of_decoding() as error:
        raise _problem(
            path, f"cannot be decoded ({_first_line(error)}), or is cut short"
        ) from error
    if not frames:
        raise _problem(path, "has no frames")
    return frames


def check_videos(
    paths: Iterable[pathlib.Path], num_frames: int, frame_size: int
) -> None:
    """Finds out, before hours of work, what would fail for every video.

    Args:
        paths: The videos.
        num_frames: As in `read_video`.
        frame_size: As in `read_video`.

    Raises:
        ValueError: If a number is below 1, or if a video is no GIF by its name and
            PyAV is not installed.
    """
    if min(num_frames, frame_size) < 1:
        raise ValueError(
            "`num_frames` and `frame_size` must be at least 1. Received: "
            f"num_frames={num_frames}, frame_size={frame_size}."
        )
    others = [path for path in paths if path.suffix.lower() != ".gif"]
    if others and importlib.util.find_spec("av") is None:
        raise ValueError(_no_pyav(others[0]))


def _no_pyav(path: pathlib.Path) -> str:
    return (
        f"Videos other than GIF are read by PyAV, which is not installed. Received: "
        f"{str(path)!r}. Install it by: pip install 'kmmft[video]'"
    )


class _Problem(ValueError):
    """Told apart from the ValueErrors of the decoders."""


def _problem(path: pathlib.Path, what: str) -> ValueError:
    return _Problem(f"The video {str(path)!r} {what}; fetch it again or leave it out.")


def _head(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise ValueError(
            f"The video {str(path)!r} does not exist; mend the path."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path.
        raise ValueError(
            f"The video {str(path)!r} cannot be read ({error}); mend the path or the "
            "permissions."
        ) from error
    if not head:
        raise _problem(path, "has no bytes")
    return head


def _errors_of_decoding() -> tuple[type[Exception], ...]:
    import PIL.Image

    bomb = PIL.Image.DecompressionBombError
    # PyAV's errors are OSErrors, ValueErrors and the like.
    kinds = (OSError, EOFError, IndexError, SyntaxError, struct.error, bomb)
    if importlib.util.find_spec("av") is None:
        return kinds
    import av

    return (*kinds, av.FFmpegError)


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.split("\n")[0]


def _jpeg(frame: "PIL.Image.Image", frame_size: int) -> bytes:
    import PIL.Image

    size = _fitting_size(frame.size, frame_size)
    if size != frame.size:
        frame = frame.resize(size, PIL.Image.Resampling.BICUBIC)
    file = io.BytesIO()
    frame.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _fitting_size(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    scale = min(1.0, shorter_side / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _middles(start: float, end: float, number: int) -> list[float]:
    step = (end - start) / number
    return [start + (index + 0.5) * step for index in range(number)]


# === GIF ===


def _gif_frames(path: pathlib.Path, number: int) -> Iterator["PIL.Image.Image"]:
    import PIL.Image
    import PIL.ImageSequence

    with PIL.Image.open(path) as gif:
        ends = []
        for frame in PIL.ImageSequence.Iterator(gif):
            frame.load()  # Finds out where the file is cut.
            seconds = frame.info.get("duration", 0) / 1000 or _GIF_FRAME_SECONDS
            ends.append((ends[-1] if ends else 0.0) + seconds)
        chosen = []
        for time in _middles(0.0, ends[-1], number):
            index = next(i for i, end in enumerate(ends) if time < end)
            if index not in chosen:
                chosen.append(index)
        for index in chosen:
            gif.seek(index)
            shown = gif.convert("RGBA")
            white = PIL.Image.new("RGBA", shown.size, "white")
            yield PIL.Image.alpha_composite(white, shown).convert("RGB")


# === Other videos ===


def _stream_frames(path: pathlib.Path, number: int) -> Iterator["PIL.Image.Image"]:
    with _open(path) as container:
        stream = container.streams.video[0]
        start, end = stream.start_time or 0, 0
        if stream.duration:
            end = start + stream.duration
        else:
            start, end = _measured_span(path)
        slack, last = (end - start) / number, None
        times = _middles(start, end, number)
        for frame in _shown_at(container, stream, times, slack, path):
            if frame.pts != last:
                yield frame.to_image().rotate(frame.rotation, expand=True)
            last = frame.pts


def _open(path: pathlib.Path) -> Any:
    try:
        import av
    except ModuleNotFoundError:
        raise _Problem(_no_pyav(path)) from None

    # A playlist must not lead out of the machine.
    options = {"protocol_whitelist": "file"}
    container = av.open(f"file:{path}", options=options)
    kind, found = container.format.name, len(container.streams.video)
    if kind not in _NO_VIDEOS and not kind.endswith("_pipe") and found:
        return container
    container.close()
    if found:
        raise _problem(path, f"is no video but {kind!r}")
    raise _problem(path, "has no pictures: it is cut short, or only sound or text")


def _measured_span(path: pathlib.Path) -> tuple[float, float]:
    """First and last moment, where the file does not say how long its pictures last.

    Matroska and WebM do not. The packets do.
    """
    start, end, seconds = None, None, 0.0
    with _open(path) as container:
        stream = container.streams.video[0]
        for packet in container.demux():
            if packet.pts is None:
                continue
            after = packet.pts + (packet.duration or 0)
            seconds = max(seconds, float(after * packet.time_base))
            if packet.stream == stream:
                start = packet.pts if start is None else min(start, packet.pts)
                end = max(end or start, after)
        if start is None:
            raise _problem(path, "has no frames, or they have no times")
        # What the file tells is of the longest of its streams, such as the sound.
        told = (container.duration or 0) / 1e6
        if seconds < 0.95 * told:
            raise _problem(path, f"ends before its {told:.1f} seconds are over")
    return start, max(end, start + 1)


def _shown_at(
    container: Any, stream: Any, times: list[float], slack: float, path: pathlib.Path
) -> Iterator[Any]:
    """The frame that is shown at each of the times."""
    far = _SEEK_SECONDS / float(stream.time_base)
    frames = _timed(container, stream)
    shown, following = None, next(frames, None)
    for time in times:
        if following is not None and time - following.pts > far:
            container.seek(int(time), stream=stream)
            frames = _timed(container, stream)
            shown, following = None, next(frames, None)
        while following is not None and following.pts <= time:
            shown, following = following, next(frames, None)
        if shown is None and following is None:
            raise _problem(path, "has no frames")
        if following is None and time > shown.pts + (shown.duration or 0) + slack:
            seconds = len(times) * slack * float(stream.time_base)
            raise _problem(path, f"ends before its {seconds:.1f} seconds are over")
        yield shown or following


def _timed(container: Any, stream: Any) -> Iterator[Any]:
    return (frame for frame in container.decode(stream) if frame.pts is not None)
