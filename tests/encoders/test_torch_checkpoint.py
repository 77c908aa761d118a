"""The checkpoint reader: right numbers, and nothing but numbers."""

import os
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from kmmft.encoders import read_legacy_checkpoint, read_torch_checkpoint

MAGIC = 0x1950A86A20F9469CFC6C


class FloatStorage:
    pass


def _rebuild_tensor_v2(*parts):
    return parts


class Tensor:
    def __init__(self, key, offset, shape, strides):
        self.parts = (Storage(key), offset, shape, strides, False, {})

    def __reduce__(self):
        return _rebuild_tensor_v2, self.parts


class Storage:
    def __init__(self, key):
        self.key = key


@pytest.fixture
def fake_torch(monkeypatch):
    """Names as PyTorch pickles them; the reader itself never imports them."""
    torch, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage, inner._rebuild_tensor_v2 = FloatStorage, _rebuild_tensor_v2
    monkeypatch.setattr(FloatStorage, "__module__", "torch")
    monkeypatch.setattr(_rebuild_tensor_v2, "__module__", "torch._utils")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)


def write(path, state, values, size=None):
    size = len(values) if size is None else size

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                return ("storage", FloatStorage, obj.key, "cpu", size, None)
            return None

    with open(path, "wb") as file:
        for header in (MAGIC, 1001, {"little_endian": True}):
            pickle.dump(header, file, protocol=2)
        Pickler(file, protocol=2).dump(state)
        pickle.dump(["0"], file, protocol=2)
        file.write(len(values).to_bytes(8, "little"))
        file.write(np.array(values, "<f4").tobytes())


def test_strides_and_offsets(fake_torch, tmp_path):
    state = {
        "plain": Tensor("0", 0, (2, 3), (3, 1)),
        "transposed": Tensor("0", 0, (3, 2), (1, 3)),
        "second": Tensor("0", 6, (2,), (1,)),
        "scalar": Tensor("0", 7, (), ()),
    }
    write(tmp_path / "a.pth", state, range(8))
    arrays = read_legacy_checkpoint(tmp_path / "a.pth")
    plain = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(arrays["plain"], plain)
    np.testing.assert_array_equal(arrays["transposed"], plain.T)
    np.testing.assert_array_equal(arrays["second"], [6, 7])
    assert arrays["scalar"] == 7
    assert all(array.flags["C_CONTIGUOUS"] for array in arrays.values())


@pytest.mark.parametrize("tensor", [(5, (2, 2), (2, 1)), (0, (3,), (-1,))])
def test_a_tensor_may_not_leave_its_storage(fake_torch, tmp_path, tensor):
    write(tmp_path / "a.pth", {"x": Tensor("0", *tensor)}, range(8))
    with pytest.raises(ValueError, match="reaches out of its storage"):
        read_legacy_checkpoint(tmp_path / "a.pth")


def test_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch evil",)

    write(tmp_path / "a.pth", {"x": Evil()}, [])
    with pytest.raises(ValueError, match="system is not allowed"):
        read_legacy_checkpoint(tmp_path / "a.pth")


def test_other_files_are_refused(fake_torch, tmp_path):
    (tmp_path / "text.pth").write_text("no pickle")
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04 a newer checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    write(tmp_path / "short.pth", {"x": Tensor("0", 0, (2,), (1,))}, [1.0], size=2)
    write(tmp_path / "cut.pth", {"x": Tensor("0", 0, (2,), (1,))}, [1.0, 2.0])
    cut = (tmp_path / "cut.pth").read_bytes()[:-3]
    (tmp_path / "cut.pth").write_bytes(cut)
    for name in ("text", "zip", "empty", "short", "cut"):
        with pytest.raises(ValueError, match=r"format before 1\.6.*Received"):
            read_legacy_checkpoint(tmp_path / f"{name}.pth")


# === The format since PyTorch 1.6; its golden file is read in test_dual_checkpoint ===
def rewrite(tmp_path, change):
    """PyTorch's golden file with some of its parts changed or left out."""
    golden = pathlib.Path(__file__).parent / "golden/open_clip"
    path = tmp_path / "model.bin"
    with (
        zipfile.ZipFile(golden / "open_clip_pytorch_model.bin") as source,
        zipfile.ZipFile(path, "w") as target,
    ):
        for name in source.namelist():
            content = change(name.split("/", 1)[1], source.read(name))
            if content is not None:
                target.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("data.pkl", None, "no data.pkl"),
        ("data/3", None, "data/3"),
        ("data/3", b"short", "ends early"),
        ("byteorder", b"big", "big-endian"),
        ("data.pkl", pickle.dumps([1]), "no dict of tensors"),
        ("data.pkl", pickle.dumps({"epoch": 3}), "'epoch' is no tensor"),
        ("data.pkl", pickle.dumps({"x": os.getcwd}), "getcwd is not allowed"),
    ],
)
def test_archives_with_anything_wrong(tmp_path, part, content, message):
    path = rewrite(tmp_path, lambda name, old: content if name == part else old)
    with pytest.raises(ValueError, match=f"that PyTorch wrote.*{message}"):
        read_torch_checkpoint(path)


def test_both_formats_by_one_function(fake_torch, tmp_path):
    write(tmp_path / "old.pth", {"x": Tensor("0", 0, (2,), (1,))}, range(2))
    np.testing.assert_array_equal(
        read_torch_checkpoint(tmp_path / "old.pth")["x"], [0, 1]
    )
    path = rewrite(tmp_path, lambda name, old: old)
    cut = path.read_bytes()[:-2000]  # the archive's own directory is at the end
    path.write_bytes(cut)
    with pytest.raises(ValueError, match=r"Received.*model\.bin"):
        read_torch_checkpoint(path)
