import numpy as np
import pytest
import torch

from latentgraph.scannet.labels import IGNORE_INDEX, SCANNET20, SCANNET200, label_set


def test_scannet20_has_the_benchmark_ids_in_order() -> None:
    assert SCANNET20.ids == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
    assert SCANNET20.names[14] == "refrigerator"
    assert SCANNET20.names[19] == "otherfurniture"
    assert SCANNET20.colors[0] == (174, 199, 232)


@pytest.mark.parametrize(("name", "size"), [("scannet20", 20), ("scannet200", 200)])
def test_label_set_is_complete(name: str, size: int) -> None:
    labels = label_set(name)
    assert labels.name == name
    assert labels.num_classes == len(labels.names) == len(labels.colors) == size
    assert len(set(labels.ids)) == len(set(labels.names)) == size
    assert all(0 <= channel <= 255 for color in labels.colors for channel in color)


def test_scannet200_counts_raw_ids() -> None:
    assert SCANNET200.names[SCANNET200.ids.index(2)] == "chair"
    assert SCANNET200.names[SCANNET200.ids.index(6)] == "couch"
    assert max(SCANNET200.ids) == 1191


def test_unknown_label_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'scannet20' or 'scannet200', got 'nyu40'"):
        label_set("nyu40")


@pytest.mark.parametrize("labels", [SCANNET20, SCANNET200], ids=lambda labels: labels.name)
def test_decode_undoes_encode(labels) -> None:
    ids = torch.tensor(labels.ids)
    assert torch.equal(labels.encode(ids), torch.arange(labels.num_classes))
    assert torch.equal(labels.decode(labels.encode(ids)), ids)


def test_foreign_ids_are_ignored() -> None:
    # 0 unannotated, 13 and 40 NYU40 but no class, 50 and 149 dirt of the release.
    ids = np.array([[0, 13, 40], [50, 149, -5], [39, 1, 2**31]])
    expected = np.array([[-1, -1, -1], [-1, -1, -1], [19, 0, -1]])
    np.testing.assert_array_equal(SCANNET20.encode(ids), expected)
    assert torch.equal(SCANNET20.encode(torch.from_numpy(ids)), torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_encode_takes_every_integer_type_and_leaves_its_input(dtype) -> None:
    ids = np.array([36, 255, 3], dtype)
    ids.flags.writeable = False
    index = SCANNET20.encode(ids)
    assert index.dtype == np.int64
    assert index.tolist() == [18, IGNORE_INDEX, 2]
    assert SCANNET20.encode(torch.from_numpy(ids.copy())).dtype == torch.int64


def test_empty_and_ignored() -> None:
    assert SCANNET20.encode(np.zeros((0, 3), np.int64)).shape == (0, 3)
    assert SCANNET20.decode(torch.zeros(0, dtype=torch.int64)).shape == (0,)
    assert SCANNET20.decode(np.array([IGNORE_INDEX, 4])).tolist() == [0, 5]


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="from -1 to 19, got values from 3 to 20"):
        SCANNET20.decode(torch.tensor([3, 20]))
    with pytest.raises(ValueError, match="got values from -2 to 0"):
        SCANNET20.decode(np.array([-2, 0]))
    with pytest.raises(TypeError, match=r"integers, got torch\.float32"):
        SCANNET20.encode(torch.zeros(3))
    with pytest.raises(TypeError, match=r"integers, got torch\.float64"):
        SCANNET20.decode(np.zeros(3))
