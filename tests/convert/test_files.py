import fractions
import io
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentgraph.convert import read_state_dict


class RunsCode:
    r"""Unpickled without care, it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.trace, "code was run")


def weights() -> dict[str, Tensor]:
    return {"conv.weight": torch.randn(3, 5), "bn.num_batches_tracked": torch.tensor(7)}


def bytes_of(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {k: nn.Parameter(t, t.is_floating_point()) for k, t in w.items()},
        lambda w: {"meta": {"epoch": 12, "CLASSES": ("chair", "table")}, "state_dict": w},
        lambda w: {"model": w, "optimizer": {"state": {}}},
        lambda w: {"state_dict": {f"module.{key}": value for key, value in w.items()}},
    ],
    ids=["flat", "parameters", "mmdet", "model", "module"],
)
def test_a_state_dict_is_found_in_what_was_saved(wrap, zipped, tmp_path) -> None:
    saved = weights()
    path = tmp_path / "weights.pth"
    path.write_bytes(bytes_of(wrap(saved), _use_new_zipfile_serialization=zipped))
    assert_same(read_state_dict(path), saved)
    assert_same(read_state_dict(str(path)), saved)


def test_module_in_front_of_some_keys_stays(tmp_path) -> None:
    saved = weights() | {"module.conv.bias": torch.ones(3)}
    torch.save(saved, tmp_path / "weights.pth")
    assert_same(read_state_dict(tmp_path / "weights.pth"), saved)


def test_what_a_file_needs_is_named_and_may_be_allowed(tmp_path) -> None:
    path, saved = tmp_path / "weights.pth", weights()
    torch.save({"state_dict": saved, "args": fractions.Fraction(1, 3)}, path)
    with pytest.raises(ValueError, match=r"needs fractions\.Fraction") as caught:
        read_state_dict(path)
    advice = str(caught.value).partition("If you trust it: ")[2]
    assert advice == "import fractions; torch.serialization.add_safe_globals([fractions.Fraction])"
    allowed = torch.serialization.get_safe_globals()
    try:
        exec(advice, {"torch": torch})  # noqa: S102
        assert_same(read_state_dict(path), saved)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"])
@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
def test_numbers_of_numpy_are_read(core, tmp_path) -> None:
    path, saved = tmp_path / "weights.pth", weights()
    numbers = {"mAP": np.float64(0.375), "loss": np.float32(2), "step": np.int64(7)}
    content = {"state_dict": saved, "meta": numbers | {"best": np.bool_(True)}}
    written = bytes_of(content, _use_new_zipfile_serialization=False)
    name = f"c{np.float64(0).__reduce__()[0].__module__}\n".encode()
    assert name in written
    path.write_bytes(written.replace(name, f"c{core}.multiarray\n".encode()))
    allowed = torch.serialization.get_safe_globals()
    assert_same(read_state_dict(path), saved)
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


@pytest.mark.parametrize("save", ["torch", "torch before 1.6", "pickle"])
def test_code_in_a_file_is_not_run(save, tmp_path) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    content = {"state_dict": weights(), "meta": RunsCode(trace)}
    if save == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        path.write_bytes(bytes_of(content, _use_new_zipfile_serialization=save == "torch"))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_state_dict(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(RunsCode(trace)))  # noqa: S301
    assert trace.exists()


def overwritten(content: bytes, value: Tensor) -> bytes:
    r"""The file with other bytes where a tensor lies."""
    before = value.numpy().tobytes()
    assert content.count(before) == 1
    return content.replace(before, b"\xff" * len(before))


CORRUPT = {
    "overwritten": overwritten(bytes_of(WEIGHTS := weights()), WEIGHTS["conv.weight"]),
    "empty": b"",
    "text": b"hello\nworld\n",
    "page": b"<html><body>404</body></html>",
    "noise": b"\x89 noise" * 30,
    "cut": bytes_of(weights())[:-200],
    "half": bytes_of(weights())[:300],
    "cut before 1.6": bytes_of(weights(), _use_new_zipfile_serialization=False)[:-5],
    "half before 1.6": bytes_of(weights(), _use_new_zipfile_serialization=False)[:250],
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_file_is_one_error(content, suffix, tmp_path) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"corrupt, cut off or of another kind: \w"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected a state dict in .*, got list"),
        ({}, "expected a state dict in .*, got dict"),
        ({"epoch": 3}, "of tensors in .*, got int at 'epoch'"),
        ({"net": weights()}, "of tensors in .*, got dict at 'net'"),
        ({"state_dict": {5: torch.ones(1)}}, "of tensors in .*, got Tensor at 5"),
    ],
    ids=["a list", "nothing", "a number", "one level deeper", "a number as name"],
)
def test_what_holds_no_state_dict(content, message, tmp_path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "weights.pth")


def test_no_file(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "weights.pth"):
        with pytest.raises(FileNotFoundError, match=f"nothing at {re.escape(str(path))}"):
            read_state_dict(path)


def test_safetensors(tmp_path, monkeypatch) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path, saved = tmp_path / "weights.safetensors", weights()
    safetensors.save_file(saved, path)
    found = read_state_dict(path)
    assert_same({key: found[key] for key in saved}, saved)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="SafetensorError"):
        read_state_dict(path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'latentgraph\[vision\]'"):
        read_state_dict(path)
