import importlib.util
import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from kmmft.data import schema
from tfrecords_tools import BuildOptions, build_manifest, read_video
from tfrecords_tools.__main__ import main

av = pytest.importorskip("av")


def write_video(path, number=10, size=(32, 48), codec="libx264", rate=5, **options):
    """A video whose frame i has the grey level 20 i."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 4
        for index in range(number):
            pixels = np.full((*size, 3), 20 * index % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_gif(path, levels, durations=100):
    frames = [PIL.Image.new("L", (8, 6), level) for level in levels]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations)
    return path


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), "float32"), "fltp", "mono"
        )
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return path


def pictures(frames):
    return [np.asarray(PIL.Image.open(io.BytesIO(frame)), int) for frame in frames]


def levels(frames):
    return [picture.mean() for picture in pictures(frames)]


@pytest.mark.parametrize(
    "ending, codec",
    [
        ("mp4", "libx264"),
        ("mov", "mpeg4"),
        ("avi", "mpeg4"),
        ("mkv", "libx264"),
        ("webm", "libvpx"),
        ("ts", "libx264"),
    ],
)
def test_frames_from_the_middle_of_each_stretch(ending, codec, tmp_path):
    path = write_video(tmp_path / f"clip.{ending}", codec=codec)
    # Of ten frames, at 1.25, 3.75, 6.25 and 8.75.
    np.testing.assert_allclose(levels(read_video(path, 4)), [20, 60, 120, 160], atol=5)
    every = levels(read_video(path, 16))
    np.testing.assert_allclose(every, range(0, 200, 20), atol=5)


def test_long_videos_are_read_by_seeking(tmp_path):
    path = write_video(tmp_path / "long.mp4", number=60, rate=1)
    middles = [int((i + 0.5) * 60 / 3) for i in range(3)]
    expected = [20 * index % 250 for index in middles]
    np.testing.assert_allclose(levels(read_video(path, 3)), expected, atol=5)


def test_gif_frames_count_by_their_time(tmp_path):
    path = write_gif(tmp_path / "a.gif", [0, 100, 200], [100, 800, 100])
    # The middle one is there for eight tenths of the time.
    np.testing.assert_allclose(levels(read_video(path, 1)), [100], atol=2)
    np.testing.assert_allclose(levels(read_video(path, 20)), [0, 100, 200], atol=2)


def test_transparent_gif_is_shown_over_white(tmp_path):
    image = PIL.Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    image.save(tmp_path / "a.gif")
    np.testing.assert_allclose(levels(read_video(tmp_path / "a.gif", 1)), [255], atol=1)


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_frames_are_made_smaller_but_not_larger(ending, tmp_path):
    path = tmp_path / f"clip.{ending}"
    if ending == "mp4":
        write_video(path, number=2, size=(64, 128))
    else:
        frames = [PIL.Image.new("L", (128, 64), level) for level in (0, 90)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    small, same = (
        [p.shape for p in pictures(read_video(path, 2, size))] for size in (16, 999)
    )
    assert small == [(16, 32, 3)] * 2
    assert same == [(64, 128, 3)] * 2


def test_a_telephones_rotation_is_applied(tmp_path):
    path = write_video(tmp_path / "clip.mp4", number=2, codec="mpeg4")
    encoded = bytearray(path.read_bytes())
    # The track's matrix says: turn by a quarter, clockwise.
    start = encoded.index(b"tkhd") + 44
    quarter = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4")
    encoded[start : start + 36] = quarter.tobytes()
    path.write_bytes(encoded)
    assert pictures(read_video(path, 1))[0].shape == (48, 32, 3)


def damage(folder):
    """Files that are no videos, with what is said of them."""
    whole = write_video(folder / "whole.mp4", movflags="faststart").read_bytes()
    index_last = write_video(folder / "index_last.mp4").read_bytes()
    matroska = write_video(folder / "whole.mkv", number=40).read_bytes()
    gif = write_gif(folder / "whole.gif", range(0, 250, 5)).read_bytes()
    still = io.BytesIO()
    PIL.Image.new("L", (8, 8)).save(still, "JPEG")
    files = {
        "cut.mp4": (whole[: len(whole) * 9 // 10], "ends before its|cannot be decoded"),
        "headless.mp4": (index_last[: len(index_last) // 2], "cut short"),
        "cut.mkv": (matroska[: len(matroska) * 4 // 5], "ends before its 8.0 seconds"),
        "cut.gif": (gif[: len(gif) // 2], "cannot be decoded"),
        "text.mp4": (b"no video " * 99, "cannot be decoded"),
        "page.webm": (b"<html>404</html>", "cannot be decoded"),
        "still.jpg": (still.getvalue(), "is no video but"),
        "empty.mp4": (b"", "has no bytes"),
        "notes.txt": (b"a list of things\n" * 99, "is no video but|cannot be decoded"),
        "sound.mp4": (write_sound(folder / "s.mp4").read_bytes(), "only sound"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {name: reason for name, (_, reason) in files.items()}


def test_bad_files_are_named(tmp_path):
    for name, reason in damage(tmp_path).items():
        with pytest.raises(ValueError, match=rf"{name}' .*({reason})"):
            read_video(tmp_path / name)
    with pytest.raises(ValueError, match=r"gone\.mp4' does not exist"):
        read_video(tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match="cannot be read"):
        read_video(tmp_path)


def test_a_playlist_leads_nowhere(tmp_path):
    playlist = "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.m3u8").write_text(playlist)
    with pytest.raises(ValueError, match=r"cannot be decoded|has no"):
        read_video(tmp_path / "a.m3u8")


@pytest.mark.parametrize("options", [{"num_frames": 0}, {"frame_size": 0}])
def test_bad_numbers(options, tmp_path):
    with pytest.raises(ValueError, match="must be at least 1"):
        read_video(tmp_path / "a.gif", **options)


def build(folder, rows, **options):
    manifest = folder / "clips.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    return build_manifest(
        manifest=manifest,
        output_dir=folder / "out",
        name="clips",
        video_column="video",
        caption_column="caption",
        validation_fraction=0.0,
        test_fraction=0.0,
        **options,
    )


def test_manifest_of_videos(tmp_path, capsys):
    write_video(tmp_path / "a.mp4")
    write_gif(tmp_path / "b.gif", [0, 100, 200])
    rows = [
        {"video": "a.mp4", "caption": "first"},
        {"video": "b.gif", "caption": ["one", "two"]},
        {"video": "./a.mp4", "caption": "second"},
    ]
    result = build(tmp_path, rows, num_frames=4)
    assert result.num_records == {"train": 2}
    builder = tfds.builder_from_directory(result.directory)
    assert repr(builder.info.features) == repr(schema.video_text())
    records = {
        record["id"].numpy().decode(): record for record in builder.as_dataset("train")
    }
    assert records["a.mp4"]["captions"].numpy().tolist() == [b"first", b"second"]
    assert records["a.mp4"]["video"].shape == (4, 32, 48, 3)
    assert records["b.gif"]["video"].shape == (3, 6, 8, 3)
    words = f"build manifest --manifest {tmp_path}/clips.jsonl --video_column video"
    words += f" --caption_column caption --name more --output_dir {tmp_path}"
    assert main([*words.split(), "--num_frames", "2", "--frame_size", "8"]) == 0


def test_bad_videos_are_rows_to_mend_or_skip(tmp_path):
    reasons = damage(tmp_path)
    rows = [{"video": name, "caption": "a"} for name in ["whole.mp4", *reasons]]
    with pytest.raises(ValueError, match=r"clips\.jsonl line \d+: The video .*--skip"):
        build(tmp_path, rows)
    result = build(tmp_path, rows, options=BuildOptions(skip_bad=True))
    assert result.num_records == {"train": 1}
    skipped = (result.directory / "skipped.jsonl").read_text().splitlines()
    lines = sorted(json.loads(line)["line"] for line in skipped)
    assert lines == list(range(2, 2 + len(reasons)))


def test_without_the_library_gifs_are_read_and_the_rest_says_how(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4")
    write_gif(tmp_path / "b.gif", [0, 100])
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "av" else found(name, *rest),
    )
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert len(read_video(tmp_path / "b.gif")) == 2
    with pytest.raises(ValueError, match=r"pip install 'kmmft\[video\]'"):
        read_video(tmp_path / "a.mp4")
    rows = [{"video": name, "caption": "a"} for name in ("b.gif", "a.mp4")]
    # Not a fault of the row, so nothing is skipped.
    with pytest.raises(ValueError, match=r"pip install 'kmmft\[video\]'"):
        build(tmp_path, rows, options=BuildOptions(skip_bad=True))
    assert build(tmp_path, rows[:1]).num_records == {"train": 1}
