import pytest
import torch
from random_scenes import scene

from latentgraph.scannet.transforms import mix


def test_two_scenes_stand_in_one_place() -> None:
    one, two = scene(101), scene(53)
    two.pos = two.pos + 7.0
    mixed = mix([one, two])
    for part, start in ((one, 0), (two, 101)):
        pos = mixed.pos[start : start + len(part.pos)]
        torch.testing.assert_close(pos - pos[0], part.pos - part.pos[0])
        torch.testing.assert_close((pos.amin(dim=0) + pos.amax(dim=0))[:2], torch.zeros(2))
        assert float(pos[:, 2].amin()) == 0.0
    for key in ("color", "normal", "y"):
        assert torch.equal(mixed[key], torch.cat([one[key], two[key]]))
    assert torch.equal(mixed.room, torch.cat([one.room, two.room + int(one.room.max()) + 1]))
    assert mixed.name == "scene0000_00+scene0000_00"


def test_what_not_all_scenes_have_is_left_out() -> None:
    one, two = scene(5), scene(3)
    del two.y
    assert "y" not in mix([one, two])
    assert mix([one]) is one
    assert len(mix([scene(0), scene(0)]).pos) == 0
    with pytest.raises(ValueError, match="one or more scenes, got none"):
        mix([])
