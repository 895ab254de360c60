import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.apartments import cost
from benchmarks.apartments.__main__ import estimate, finished, place, settings, write_table
from benchmarks.apartments.beyond import circle, on_rings
from benchmarks.apartments.beyond import render as render_beyond
from benchmarks.apartments.blocks import CONTROLS, ROWS, GridMeans, PlacedNonLocal
from benchmarks.apartments.picture import draw, heard
from benchmarks.apartments.probe import Voxels, probe
from benchmarks.apartments.probe import write_table as write_probe_table
from benchmarks.apartments.rooms import looked_at, pairs
from benchmarks.apartments.start import means, render, told
from latentgraph.functional import Ragged
from latentgraph.nn import GlobalContext, position_features
from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.prepare import prepare
from latentgraph.scannet.rooms import write_rooms
from latentgraph.scannet.segmenter import Segmenter

RESULT = {
    "val": 61.0,
    "test": 60.0,
    "look_alikes": 30.0,
    "before": {"own_room": 40.0, "alike": 0.5},
    "after": {"own_room": 60.0, "alike": 0.25},
    "steps": 1200,
    "parameters": 12345,
    "machine": "a processor",
    "seconds": 420.0,
}


def built(row: str) -> torch.nn.Module:
    block, options, *_ = ROWS[row]
    assert block is not None
    return CONTROLS[block](64) if block in CONTROLS else Context(block, options)(64)


@pytest.fixture(scope="module")
def apartments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("apartments")
    write_rooms(root, num_train=2, num_val=0, kind="apartments", progress=False)
    assert prepare(root, progress=False).ok
    return root


@pytest.mark.parametrize("row", [row for row in ROWS if ROWS[row].block])
def test_every_block_can_be_built_and_its_weights_written_out(row: str) -> None:
    block = built(row).eval()
    x, batch = torch.randn(37, 64), torch.zeros(37, dtype=torch.int64)
    graphs = Ragged(batch, 1)
    seen = position_features(torch.randn(37, 3), graphs)
    placed = getattr(block, "affinity_channels", 0)
    out = block(x, graphs, affinity_x=seen) if placed else block(x, graphs)
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert pairs(block, x, graphs, seen if placed else None).shape == (37, 37)


def test_the_controls_do_not_mix_graphs_and_follow_their_weights() -> None:
    batch = torch.arange(41) % 3
    x, seen = torch.randn(41, 32), position_features(torch.randn(41, 3), batch)
    for block in (GridMeans(32).eval(), PlacedNonLocal(32).eval()):
        torch.nn.init.normal_(list(block.parameters())[-2])
        out = block(x, Ragged(batch, 3), seen)
        for b in range(3):
            own = batch == b
            assert torch.allclose(block(x[own], None, seen[own]), out[own], atol=1e-5)
    weights = GridMeans(32).weights(seen[batch == 0])
    assert (weights == weights.T).all()
    assert 1 < weights.sum(1).max() < len(weights)


def test_the_share_of_the_own_room_is_that_of_the_rooms_for_a_mean(apartments: Path) -> None:
    scenes = list(ScanNet(apartments, "train"))
    context = Context("GlobalContext", {"pool": "mean"})
    segmenter = Segmenter(NetworkConfig(voxel_size=0.3, channels=(5, 32), context=context))
    found = looked_at(segmenter, scenes)
    assert found["alike"] is None
    expected = []
    for scene in scenes:
        voxels = segmenter.voxelize(scene)
        levels = segmenter.network.levels(voxels.coord)
        room = levels.pool(voxels.room, 1, "min")
        share = room.bincount(minlength=1).double() / len(room)
        expected.append((share**2).sum())
    assert found["own_room"] == pytest.approx(100 * float(sum(expected)) / len(scenes), rel=1e-4)
    assert looked_at(segmenter, scenes, true_rooms=True)["own_room"] == 100
    assert looked_at(Segmenter(NetworkConfig(channels=(5, 7))), scenes)["own_room"] is None


def test_the_picture_shows_the_affinities_of_a_latent_node_for_each_room(
    apartments: Path, tmp_path: Path
) -> None:
    block, options, *_ = ROWS["windows, votes"]
    assert block is not None
    context = Context(block, options)
    segmenter = Segmenter(NetworkConfig(voxel_size=0.3, channels=(5, 32), context=context))
    scene = ScanNet(apartments, "train")[0]
    found = heard(segmenter, scene)
    assert found.affinity.shape == (len(found.pos), 32)
    assert found.pos.shape == (len(found.room), 2)
    draw(found, found, tmp_path / "folder/apartment.png")
    assert (tmp_path / "folder/apartment.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="a row with a LatentGNN"):
        heard(Segmenter(NetworkConfig(channels=(5, 7))), scene)


def test_the_cost_of_a_step_is_told_for_every_row(
    apartments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "VOXEL_SIZE", 0.6)
    rows = ("mean pooling, MLP", "means over a grid, MLP", "windows, votes")
    networks = {row: cost.network(row) for row in rows}
    before = [p.clone() for p in networks["windows, votes"].parameters()]
    found = cost.measure(networks, list(ScanNet(apartments, "train")), 1)
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in found.values())
    after = networks["windows, votes"].parameters()
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    table = cost.render({row: [0.2 * (i + 1)] for i, row in enumerate(rows)})
    assert "| mean pooling, MLP | 200 | 1.00 |" in table
    assert "| windows, votes | 600 | 3.00 |" in table


def test_a_finished_run_counts_only_with_the_same_settings(tmp_path: Path) -> None:
    job = (tmp_path, 3, "windows, votes", 5)
    assert finished(*job) is None
    out = place(*job)
    out.mkdir(parents=True)
    (out / "result.json").write_text(json.dumps(RESULT | {"settings": settings(*job)}))
    assert finished(*job) is not None
    jobs = [("windows, votes", seed) for seed in range(4, 9)]
    text = estimate(tmp_path, 3, jobs, [j for j in jobs if j[1] != 5], 2)
    assert "5 runs, 4 of them still to do" in text
    assert "about 7 minutes each: about 14 minutes" in text
    (out / "result.json").write_text(json.dumps(RESULT | {"settings": ["--other"]}))
    assert finished(*job) is None


def test_the_table_has_what_is_finished(tmp_path: Path) -> None:
    for seed, test in ((0, 60.0), (1, 63.0)):
        out = place(tmp_path, 3, "windows", seed)
        out.mkdir(parents=True)
        own = settings(tmp_path, 3, "windows", seed)
        (out / "result.json").write_text(json.dumps(RESULT | {"test": test, "settings": own}))
    table = write_table(tmp_path / "results", tmp_path, 3)
    scores = "| windows | 61.0 ± 0.0 | 61.5 ± 2.1 | 60.0, 63.0 | 30.0 ± 0.0 |"
    assert f"{scores} 40 to 60 | 0.50 to 0.25 | 12,345 |" in table
    assert "windows, votes" not in table
    assert (tmp_path / "results/apartments.md").read_text() == table


def test_the_mean_over_the_scene_is_not_the_block_of_the_oracle() -> None:
    assert isinstance(built("mean pooling, MLP"), GlobalContext)
    assert ROWS["oracle: mean over the true room, MLP"].true_rooms


def toy_scenes() -> dict[str, list[Voxels]]:
    r"""Four rooms side by side, of types that some voxels give away."""

    def scene() -> Voxels:
        room = torch.arange(4).repeat_interleave(23)
        types = torch.randperm(5)[:4]
        x = torch.randn(4, 23, 64)
        x[:, :7, :5] += 10 * F.one_hot(types, 5).unsqueeze(1)
        x = x.flatten(0, 1)
        return Voxels(x, torch.randn(92, 3) / 9 + room.view(-1, 1), room, types[room])

    return {"scenes": [scene() for _ in range(29)], "test": [scene() for _ in range(7)]}


def test_the_probe_learns_the_type_of_the_room_from_the_true_rooms(tmp_path: Path) -> None:
    scenes = toy_scenes()
    oracle = "oracle: mean over the true room, MLP"
    found = {f"{row}/0": probe(row, 0, 150, scenes) for row in ("no context", oracle, "windows")}
    assert found[f"{oracle}/0"]["right"] > found["no context/0"]["right"] + 20
    assert found[f"{oracle}/0"]["after"] == 100
    assert found["no context/0"]["after"] is None
    assert 25 < found["windows/0"]["before"] <= 100
    write_probe_table(tmp_path / "table.md", found, 150)
    table = (tmp_path / "table.md").read_text()
    assert f"| no context | 1 | {found['no context/0']['right']:.1f} | none | none |" in table
    assert "| windows | 1 |" in table


def test_the_start_tells_what_a_mean_over_the_true_room_knows() -> None:
    scenes = toy_scenes()
    node = told(lambda x, *_: x, scenes)
    scene = told(lambda x, graphs, *_: means(x, graphs), scenes)
    room = told(lambda x, _, __, room: means(x, room), scenes)
    assert scene[0] < node[0] < room[0] - 40
    assert room[1] > 95
    assert "| room | 81 | 97 |" in render({"room": [(80.4, 95.0), (82.0, 98.6)]})


def test_nodes_of_a_ring_stand_around_a_circle_in_their_order() -> None:
    pos = circle(torch.tensor([0, 0, 0, 0, 1, 1]))
    expected = [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0]]
    assert torch.allclose(pos, torch.tensor(expected, dtype=pos.dtype), atol=1e-6)


def test_the_block_of_the_apartments_learns_on_rings() -> None:
    found = on_rings("windows, votes, wide", 0, steps=2)
    assert 0 < found["right"] < 100
    assert found == on_rings("windows, votes, wide", 0, steps=2)
    assert found != on_rings("no context", 0, steps=2)
    rows = {"no context": [{"right": 20.0}, {"right": 40.0}]}
    assert "| no context | 30.0 ± 14.1 |" in render_beyond(rows, 2)
