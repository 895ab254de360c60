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
    "plotly",
    "plyfile",
    "scipy",
    "tensorboard",
    "torch_scatter",
    "torchmetrics",
    "torchvision",
)

# A module may need an extra, and says then which one; it may not fall over on the missing package.
IMPORT_ALL_WITHOUT_EXTRAS = """
import importlib, json, pkgutil, sys

for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # importing it now raises ModuleNotFoundError
import latentgraph

for module in pkgutil.walk_packages(latentgraph.__path__, "latentgraph."):
    if not module.name.endswith(".__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if "latentgraph[" not in str(error):
                raise
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


def test_modules_import_without_the_extras_or_name_the_extra() -> None:
    run_python(IMPORT_ALL_WITHOUT_EXTRAS, json.dumps(EXTRAS))


def test_layers_load_nothing_but_torch_geometric_and_numpy() -> None:
    loaded = {name.partition(".")[0] for name in run_python(LOADED_BY_LATENTGRAPH).split()}
    assert "latentgraph" in loaded
    assert not loaded & set(EXTRAS)


def test_version_has_one_source() -> None:
    assert version("latentgraph") == latentgraph.__version__


def test_types_are_shipped() -> None:
    assert files(latentgraph).joinpath("py.typed").is_file()
