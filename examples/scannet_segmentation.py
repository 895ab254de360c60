r"""From raw scans to predictions in Python; `latentgraph --help` has the same as commands.

Generated rooms stand in for ScanNet: with the release, leave `write_rooms` away and give its folder
as `root`. A few scenes and epochs show the way in seconds; `make demo` trains for long enough to
be good.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from latentgraph.scannet.evaluate import evaluate
from latentgraph.scannet.predict import predict
from latentgraph.scannet.prepare import prepare
from latentgraph.scannet.rooms import write_rooms
from latentgraph.scannet.train import train


def main(folder: Path) -> None:
    root = folder / "rooms"
    write_rooms(root, num_train=6, num_val=2)
    print(prepare(root))

    # A recipe that comes with the package, and what is different here.
    changes = ["--trainer.max_epochs", "4", "--model.network.voxel_size", "0.2"]
    places = ["--data.root", str(root), "--out", str(folder / "run")]
    checkpoint = train(["--config", "demo", *places, *changes])
    assert checkpoint is not None

    print(evaluate(checkpoint, root))
    page = predict(root / "scans" / "scene0011_00", checkpoint)
    print(f"page: {page}")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(folder))
