import torch

from latentgraph.voxel.search import pieces_in_turn


def test_pieces_of_all_parts_in_turn() -> None:
    parts = [torch.arange(5), torch.arange(10, 12), torch.arange(20, 27)]
    sizes = [[2, 0, 3], [0, 1, 1], [4, 3, 0]]
    joined = [0, 1, 20, 21, 22, 23, 10, 24, 25, 26, 2, 3, 4, 11]
    for dtype in (torch.int32, torch.int64):
        found = pieces_in_turn(parts, sizes, dtype)
        assert found.dtype == dtype
        assert found.tolist() == joined


def test_no_pieces() -> None:
    empty = pieces_in_turn([torch.empty(0, dtype=torch.int64)] * 2, [[], []], torch.int32)
    assert empty.shape == (0,)
    assert empty.dtype == torch.int32


def test_a_default_device_leaves_pieces_where_they_are() -> None:
    parts = [torch.arange(3), torch.arange(2)]
    with torch.device("meta"):
        found = pieces_in_turn(parts, [[3], [2]], torch.int32)
    assert found.tolist() == [0, 1, 2, 0, 1]
