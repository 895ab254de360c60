import pickle
from multiprocessing.reduction import ForkingPickler

import torch
from torch_geometric.data import Batch, Data

from latentgraph.scannet.parcel import Parcel, packed
from latentgraph.voxel import VoxelLevels


def sent(parcel: Parcel) -> Parcel:
    r"""As it comes out of the other end of a queue."""
    received = pickle.loads(ForkingPickler.dumps(parcel))  # noqa: S301
    assert isinstance(received, Parcel)
    return received


def test_what_is_sent_arrives() -> None:
    coord = torch.cartesian_prod(*(torch.arange(n) for n in (3, 5, 7)))
    scene = Data(
        coord=coord,
        x=torch.randn(7, 105).T,  # laid out column by column
        every_other=torch.arange(11)[::2],
        flag=torch.tensor([True, False, True]),
        empty=torch.zeros(0, 3),
        one=torch.tensor(5.0),
        name="scene0000_00",
    )
    batch = Batch.from_data_list([scene, scene])
    batch.levels = VoxelLevels.build(batch.coord, batch.batch, num_levels=2)
    found = sent(Parcel(batch)).open()
    assert type(found) is type(batch)
    assert set(found.keys()) == set(batch.keys())
    for key in ("coord", "x", "every_other", "flag", "empty", "one", "batch", "ptr"):
        assert found[key].dtype == batch[key].dtype
        assert torch.equal(found[key], batch[key]), key
    assert found.name == batch.name
    assert torch.equal(found[1].coord, coord)
    expected, levels = [], []
    batch.levels.apply(lambda tensor: expected.append(tensor) or tensor)
    found.levels.apply(lambda tensor: levels.append(tensor) or tensor)
    assert len(levels) == len(expected) > 20
    assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))
    assert repr(found.levels) == repr(batch.levels)


def test_tensors_stay_shared_writable_and_in_one_piece() -> None:
    shared = torch.arange(5)
    a, b, other = packed(tuple, [shared, shared, torch.ones(3)]).open()
    assert a is b
    assert a.data_ptr() % 64 == other.data_ptr() % 64
    assert a.untyped_storage().data_ptr() < other.data_ptr()
    a += 1
    assert a.tolist() == [1, 2, 3, 4, 5]
    assert other.tolist() == [1.0, 1.0, 1.0]
    assert shared.tolist() == [0, 1, 2, 3, 4]


def test_nothing_is_a_parcel_too() -> None:
    assert sent(Parcel([])).open() == []
