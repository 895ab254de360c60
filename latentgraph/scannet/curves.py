r"""The curves of a run, which TensorBoard shows as well, as a picture."""

from __future__ import annotations

from pathlib import Path

from latentgraph.needs import need
from latentgraph.scannet.into_place import into_place

_EVENTS = "events.out.tfevents.*"


def draw_curves(run: str | Path, out: str | Path | None = None) -> Path:
    r"""Draw everything that a run of ``latentgraph train`` has logged over its steps.

    Args:
        run: Folder of the run, which may still be going on.
        out: PNG file to write, by default ``curves.png`` in the folder.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If the folder has no logged values.
        IsADirectoryError: If ``out`` is a folder.
        ImportError: If TensorBoard or matplotlib is missing.
    """
    curves = read_curves(run)
    path = Path(run, "curves.png") if out is None else Path(out)
    if path.is_dir():
        raise IsADirectoryError(f"expected a file to write the picture to, got the folder {path}")
    matplotlib = need("matplotlib.figure", "to draw curves", "inspection")
    figure = matplotlib.Figure(figsize=(4 * len(curves), 3), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for ax, (name, points) in zip(axes, curves.items(), strict=True):
        ax.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else None)
        ax.set(title=name, xlabel="step")
        ax.grid(alpha=0.3)
    with into_place(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path


def read_curves(run: str | Path) -> dict[str, list[tuple[int, float]]]:
    r"""Steps and values of each curve that a run has logged, by name.

    Raises:
        FileNotFoundError: If the folder has none.
        ImportError: If TensorBoard is missing.
    """
    events = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = need(events, "to read curves", "scannet").EventAccumulator
    if not any(Path(run).glob(_EVENTS)):
        raise FileNotFoundError(f"expected the folder of a run, with {_EVENTS} in it, got {run}")
    found = accumulator(str(run), size_guidance={"scalars": 0}).Reload()
    names = [name for name in found.Tags()["scalars"] if name != "epoch"]
    if not names:
        raise FileNotFoundError(f"the run in {run} has logged nothing yet")
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in sorted(names)}
