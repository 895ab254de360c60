r"""The command line ``latentgraph``; each command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from latentgraph import __version__

if TYPE_CHECKING:
    from latentgraph.scannet.votes import Votes

DESCRIPTION = "Segment scenes of ScanNet, and others, with latent graph networks."
EPILOG = """\
from nothing to a prediction, on generated rooms:
  latentgraph rooms rooms
  latentgraph prepare rooms
  latentgraph train --config demo --data.root rooms
  latentgraph evaluate runs/demo/last.ckpt rooms --split val
  latentgraph predict rooms/scans/scene0011_00 --checkpoint runs/demo/last.ckpt
"""


def main(arguments: Sequence[str] | None = None) -> int:
    r"""Run one command.

    Args:
        arguments: Those after ``latentgraph``, by default those of the process.

    Returns:
        Exit status: 0 when all went well, 1 for input that cannot be used, 2 for arguments that
        make no sense. Both come with one line on standard error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        _quiet_lightning()
        try:
            # Lightning's command line parses its many arguments by itself.
            if given[:1] == ["train"]:
                return _train(given[1:])
            options = vars(_parser().parse_args(given))
            run: Callable[..., int] = options.pop("run")
            return run(**options)
        except KeyboardInterrupt:
            return _complain("interrupted", 130)
        except _UsageError as error:
            return _complain(error, 2)
        except (ImportError, OSError, ValueError) as error:
            if debug:
                raise
            return _complain(error, 1)


class _UsageError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}; {self.prog} --help explains")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser("latentgraph", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"latentgraph {__version__}")
    debug = "show where an error came from"
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=debug)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(run=run)
        return added

    rooms = command("rooms", _rooms, "write generated scenes in the raw layout of ScanNet")
    rooms.add_argument("root", help="folder to write to")
    kinds = ("rooms", "apartments")
    rooms.add_argument("--kind", choices=kinds, default="rooms", help="rooms in a scene (rooms)")
    rooms.add_argument("--train", type=int, default=150, help="scenes to train on (150)")
    rooms.add_argument("--val", type=int, default=40, help="held-out scenes (40)")
    rooms.add_argument("--test", type=int, default=0, help="scenes without labels (0)")
    rooms.add_argument("--seed", type=int, default=0, help="another seed, other scenes (0)")

    check = command("check", _check, "say what is missing, scene by scene")
    check.add_argument("root", help="folder of the release, with scans/ in it")
    check.add_argument("--workers", type=int, default=0, help="processes beside this one (0)")

    prepare = command("prepare", _prepare, "read every scene once into a file that loads fast")
    prepare.add_argument("root", help="folder of the release; only read from, if --out is given")
    prepare.add_argument("--out", help="folder to write to (ROOT/prepared)")
    prepare.add_argument("--split", choices=("train", "val", "test"), help="only this split (all)")
    prepare.add_argument("--workers", type=int, default=0, help="processes beside this one (0)")
    strict = "leave out a scan with a category or a label id that is no class"
    prepare.add_argument("--strict", action="store_true", help=strict)

    commands.add_parser("train", help="train a network", add_help=False)

    scores = "score a checkpoint, or predictions, on the vertices of a split"
    evaluate = command("evaluate", _evaluate, scores)
    source = "file written by `latentgraph train`, or a folder with <scene>.txt of any tool"
    evaluate.add_argument("source", metavar="CHECKPOINT_OR_DIR", help=source)
    evaluate.add_argument("root", help="folder of the release, prepared")
    splits = ("train", "val")
    evaluate.add_argument("--split", choices=splits, default="val", help="scenes to score (val)")
    evaluate.add_argument("--out", help="folder of the prepared scenes (ROOT/prepared)")
    evaluate.add_argument("--workers", type=int, default=1, help="processes that load scenes (1)")
    evaluate.add_argument("--accelerator", default="auto", help="cpu, gpu, ... (auto)")
    folder = "the first argument is a folder of predictions, an id on a line for each vertex"
    evaluate.add_argument("--predictions", action="store_true", help=folder)
    devices = "processes that share the scenes, a device each (1)"
    evaluate.add_argument("--devices", type=int, default=1, help=devices)
    _add_labels(evaluate)
    _add_votes(evaluate)

    zips = "write a submission to the benchmark, or check one"
    submit = command("submit", _submit, zips)
    source = "file written by `latentgraph train`, or the zip to check"
    submit.add_argument("source", metavar="CHECKPOINT_OR_ZIP", help=source)
    submit.add_argument("root", help="folder of the release, with scans_test/ in it")
    submit.add_argument("--out", metavar="FILE.zip", help="the submission to write")
    _add_device(submit)
    whoever = (
        "the first argument is a submission, whoever made it: only check its names, lines and ids"
    )
    submit.add_argument("--check", action="store_true", help=whoever)
    _add_labels(submit)
    _add_votes(submit)

    convert = command("convert", _convert, "make a checkpoint of published weights of SpUNet-v1m1")
    convert.add_argument("weights", help="Pointcept's checkpoint, or its weights as safetensors")
    convert.add_argument("checkpoint", help="file to write")
    sets = ("scannet20", "scannet200")
    convert.add_argument("--labels", choices=sets, default=sets[0], help="its classes (scannet20)")
    convert.add_argument("--voxel-size", type=float, default=0.02, help="meters (0.02)")
    colors = "what black and white were for it (-1 1; 0 1 in newer versions)"
    convert.add_argument("--color-range", type=float, nargs=2, default=(-1.0, 1.0), help=colors)

    predict = command("predict", _predict, "label one scene: a colored PLY and an HTML page")
    _add_source(predict)
    predict.add_argument("--checkpoint", help="file written by `latentgraph train`")
    predict.add_argument("--out", help="folder to write to (predictions/<name>)")
    _add_device(predict)
    _add_votes(predict)

    view = command("view", _view, "show one scene and what a network makes of it on an HTML page")
    _add_source(view)
    view.add_argument("--checkpoint", help="file written by `latentgraph train` (none)")
    view.add_argument("--out", help="folder to write to (views/<name>)")
    view.add_argument("--block", help="LatentGNN block whose latent nodes are shown (all)")
    view.add_argument("--ply", action="store_true", help="write a PLY for each coloring as well")
    _add_device(view)

    curves = command("curves", _curves, "draw the curves of a run as a PNG")
    curves.add_argument("run_folder", metavar="RUN", help="folder of `latentgraph train`")
    curves.add_argument("--out", help="file to write (RUN/curves.png)")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="of the network: cpu, cuda, ... (cpu)")


def _add_labels(parser: argparse.ArgumentParser) -> None:
    sets = ("scannet20", "scannet200")
    text = "classes of predictions that come without a checkpoint (scannet20)"
    parser.add_argument("--labels", choices=sets, help=text)


def _add_votes(parser: argparse.ArgumentParser) -> None:
    votes = parser.add_argument_group("looks at each scene, whose votes add up (one at all of it)")
    angles = "turned by each of these angles, degrees"
    votes.add_argument("--rotations", type=float, nargs="+", default=(0.0,), help=angles)
    votes.add_argument("--scales", type=float, nargs="+", default=(1.0,), help="and scaled by each")
    votes.add_argument("--flip", action="store_true", help="and mirrored")
    columns = "in columns of this width, 4 m or more, for scenes that do not fit into memory"
    votes.add_argument("--fragment", type=float, help=columns)


def _votes(
    rotations: Sequence[float], scales: Sequence[float], flip: bool, fragment: float | None
) -> Votes:
    from latentgraph.scannet.votes import NARROW, Votes

    if fragment is not None and 0.0 < fragment < NARROW:
        warnings.warn(
            f"--fragment {fragment:g}: columns narrower than {NARROW:g} m take surroundings away "
            "from the network, and may lower its score",
            stacklevel=2,
        )
    return Votes(tuple(rotations), tuple(scales), flip, fragment)


def _add_source(parser: argparse.ArgumentParser) -> None:
    file = "folder of a scan, or a file: PLY, PCD, XYZ, OBJ and others; only positions are needed"
    parser.add_argument("source", metavar="FILE_OR_SCENE", help=file)
    units = ("m", "cm", "mm", "ft", "in")
    parser.add_argument("--unit", choices=units, default="m", help="unit of the file (m)")
    parser.add_argument("--up", choices=("x", "y", "z"), default="z", help="its axis upwards (z)")


def _rooms(root: str, kind: str, train: int, val: int, test: int, seed: int) -> int:
    from latentgraph.scannet.rooms import write_rooms

    write_rooms(root, num_train=train, num_val=val, num_test=test, kind=kind, seed=seed)
    return 0


def _check(root: str, workers: int) -> int:
    from latentgraph.scannet.check import check

    report = check(root, workers)
    print(report)
    return 0 if report.clean else 1


def _prepare(root: str, out: str | None, split: str | None, workers: int, strict: bool) -> int:
    from latentgraph.scannet.prepare import prepare

    report = prepare(root, out, split=split, num_workers=workers, strict=strict)
    print(report)
    return 0 if report.ok else 1


def _train(arguments: list[str]) -> int:
    from latentgraph.scannet.train import train

    checkpoint = train(arguments)
    if checkpoint is not None:
        print(f"checkpoint: {checkpoint}")
    return 0


def _evaluate(
    source: str,
    root: str,
    split: str,
    out: str | None,
    workers: int,
    accelerator: str,
    predictions: bool,
    devices: int,
    labels: str | None,
    **looks: Any,
) -> int:
    from latentgraph.scannet.evaluate import evaluate, evaluate_predictions

    if predictions:
        _refuse_looks(looks, "--predictions")
        print(evaluate_predictions(source, root, split, labels or "scannet20", out))
        return 0
    _refuse_labels(labels, "--predictions")
    score = evaluate(source, root, split, out, workers, accelerator, _votes(**looks), devices)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the first of several processes
        print(score)
    return 0


def _submit(
    source: str,
    root: str,
    out: str | None,
    device: str,
    check: bool,
    labels: str | None,
    **looks: Any,
) -> int:
    from latentgraph.scannet.submission import check_submission, submit

    if check:
        if out is not None:
            raise _UsageError("--check writes nothing: leave --out away")
        _refuse_looks(looks, "--check")
        findings = check_submission(source, root, labels or "scannet20")
    else:
        _refuse_labels(labels, "--check")
        if out is None:
            raise _UsageError("--out FILE.zip is needed, or --check")
        findings = submit(source, root, out, device, _votes(**looks))
    print(findings)
    return 0 if findings.ok else 1


def _refuse_looks(looks: dict[str, Any], flag: str) -> None:
    from latentgraph.scannet.votes import ONE_VOTE

    if _votes(**looks) != ONE_VOTE:
        raise _UsageError(f"{flag} looks at no scene: leave the options of votes away")


def _refuse_labels(labels: str | None, flag: str) -> None:
    if labels is not None:
        raise _UsageError(f"--labels goes with {flag}: a checkpoint knows its classes")


def _convert(
    weights: str, checkpoint: str, labels: str, voxel_size: float, color_range: Sequence[float]
) -> int:
    from latentgraph.scannet.checkpoint import save_checkpoint
    from latentgraph.scannet.published import load_spunet

    low, high = color_range
    segmenter, report = load_spunet(weights, labels, voxel_size, (low, high))
    save_checkpoint(segmenter, checkpoint)
    print(report)
    print(f"checkpoint: {checkpoint}")
    return 0


def _predict(
    source: str,
    checkpoint: str | None,
    out: str | None,
    device: str,
    unit: str,
    up: str,
    **looks: Any,
) -> int:
    from latentgraph.scannet.predict import predict

    return _say(source, *predict(source, checkpoint, out, device, unit, up, _votes(**looks)))


def _view(source: str, **options: Any) -> int:
    from latentgraph.scannet.view import view

    return _say(source, *view(source, **options))


def _say(source: str, page: Path, height: float) -> int:
    if not Path(source).is_dir():  # a scan of ScanNet is known to be in meters
        print(f"height: {height:.2f} m")
    print(f"page: {page}")
    return 0


def _curves(run_folder: str, out: str | None) -> int:
    from latentgraph.scannet.curves import draw_curves

    print(f"curves: {draw_curves(run_folder, out)}")
    return 0


def _complain(error: object, status: int) -> int:
    if isinstance(error, ModuleNotFoundError):
        error = f"{error.name} is not installed: pip install 'latentgraph[scannet]'"
    print(f"latentgraph: error: {_one_line(_of_loader(error))}", file=sys.stderr)
    return status


def _of_loader(error: object) -> object:
    r"""What a process that loads scenes said, without the traceback that torch puts before it."""
    text = str(error)
    if not re.match(r"Caught \w+ in DataLoader worker", text):
        return error
    return re.split(r"^[\w.]+: ", text, flags=re.MULTILINE)[-1]


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, (DeprecationWarning, FutureWarning)):  # those are for programmers
        print(f"latentgraph: warning: {_one_line(message)}", file=sys.stderr)


def _quiet_lightning() -> None:
    r"""Keep what Lightning says about itself from the few lines that people should read."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_advice)
    # The folder of a run holds config.yaml by then, and an earlier run in it was asked about.
    warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")


def _no_advice(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
