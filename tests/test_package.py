import json
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files

import latentgraph

EXTRAS = (
    "jsonargparse",
    "lightning",
    "matplotlib",
    "open3d",
    "plyfile",
    "safetensors",
    "scipy",
    "tensorboard",
    "timm",
    "torch_scatter",
    "torchmetrics",
    "torchvision",
    "transformers",
)

# Modules of training stand on an extra as a whole; no other may, and no package.
IMPORT_ALL_WITHOUT_EXTRAS = """
import importlib, json, pkgutil, sys

extras = json.loads(sys.argv[1])
for name in extras:
    sys.modules[name] = None  # importing it now raises ModuleNotFoundError
import latentgraph

for module in pkgutil.walk_packages(latentgraph.__path__, "latentgraph."):
    if module.name.endswith(".__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if module.ispkg or str(error.name).partition(".")[0] not in extras:
            raise
        print(module.name)
"""

LOADED_BY_LATENTGRAPH = """
import sys
import numpy, torch, torch_geometric

before = set(sys.modules)
import latentgraph, latentgraph.nn, latentgraph.functional, latentgraph.models

print(*(set(sys.modules) - before))
"""


def run_python(code: str, *args: str) -> str:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_modules_of_training_need_an_extra_to_be_imported() -> None:
    need_one = set(run_python(IMPORT_ALL_WITHOUT_EXTRAS, json.dumps(EXTRAS)).split())
    training = ("data_module", "evaluate", "lightning_module", "train")
    assert need_one <= {f"latentgraph.scannet.{name}" for name in training}


def test_layers_load_nothing_but_torch_geometric_and_numpy() -> None:
    loaded = {name.partition(".")[0] for name in run_python(LOADED_BY_LATENTGRAPH).split()}
    assert "latentgraph" in loaded
    assert not loaded & set(EXTRAS)


def test_version_has_one_source() -> None:
    assert version("latentgraph") == latentgraph.__version__


def test_types_are_shipped() -> None:
    assert files(latentgraph).joinpath("py.typed").is_file()
