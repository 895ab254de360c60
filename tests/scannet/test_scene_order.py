from collections import Counter

import pytest

from latentgraph.scannet.scene_order import SceneBatches, SceneSampler


def test_each_epoch_has_an_order_of_its_own_that_the_seed_repeats() -> None:
    sampler = SceneSampler(11, shuffle=True, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key[0] for key in keys} == {epoch}
        orders.append([scene for _, scene in keys])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(11))
    assert orders[0] != [scene for _, scene in SceneSampler(11, shuffle=True, seed=4)]


@pytest.mark.parametrize("num_scenes", [0, 1, 7, 13])
def test_processes_evaluate_every_scene_once(num_scenes: int) -> None:
    samplers = [SceneSampler(num_scenes, False, rank=rank, world_size=3) for rank in range(3)]
    seen = Counter(scene for sampler in samplers for _, scene in sampler)
    assert seen == dict.fromkeys(range(num_scenes), 1)
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


@pytest.mark.parametrize("num_scenes", [0, 1, 7, 13])
def test_processes_train_in_step_on_different_scenes(num_scenes: int) -> None:
    samplers = [SceneSampler(num_scenes, True, rank=rank, world_size=3) for rank in range(3)]
    seen = [scene for sampler in samplers for _, scene in sampler]
    assert len(set(seen)) == len(seen) == num_scenes // 3 * 3
    assert {len(sampler) for sampler in samplers} == {num_scenes // 3}


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_batches_hold_every_scene_once_some_of_them_mixed(share: float) -> None:
    sampler = SceneSampler(997, shuffle=True, seed=3)
    batches = SceneBatches(sampler, 5, share)
    sampler.set_epoch(7)
    found = list(batches)
    assert len(found) == len(batches) == 200
    assert {epoch for batch in found for epoch, _ in batch} == {7}
    order = [scene for batch in found for _, scenes in batch for scene in scenes]
    assert order == [scene for _, scene in sampler]
    shapes = Counter(tuple(len(scenes) for _, scenes in batch) for batch in found)
    assert abs(sum(n for shape, n in shapes.items() if 2 in shape) / 200 - share) < 0.1
    assert set(shapes) <= {(1, 1, 1, 1, 1), (2, 2, 1), (1, 1), (2,)}
    assert list(SceneBatches(sampler, 5, share)) == found
