r"""What a type checker tells those who use the library."""

import subprocess
import sys

import pytest

PROGRAM = """\
import torch
from torch import Tensor
from latentgraph.nn import GlobalContext, LatentGNN, OnGrid, VisibleToLatentConv

block = LatentGNN(32, latent_dims=(8,), mode="symmetric")
grid = OnGrid(GlobalContext(32))
z: Tensor = VisibleToLatentConv()(torch.ones(3, 5), None, torch.ones(3, 2))
GlobalContext("32")
LatentGNN(32, latent_dims=8)
LatentGNN(32, mode="both")
LatentGNN(32, latents=8)
block.forward(torch.ones(3, 32), batch=[0, 0, 1])
block.reset_parameters().train()
"""


@pytest.mark.slow
def test_a_wrong_argument_is_caught_in_a_program_of_a_user(tmp_path) -> None:
    tmp_path.joinpath("program.py").write_text(PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in checked.stdout.splitlines() if ": error: " in line]
    caught = {int(line.split(":")[1]): line for line in lines}
    assert list(caught) == [8, 9, 10, 11, 12, 13], checked.stdout + checked.stderr
    assert 'Argument 1 to "GlobalContext" has incompatible type "str"; expected "int"' in caught[8]
    assert 'expected "Sequence[int]"' in caught[9]
    assert "expected \"Literal['asymmetric', 'symmetric']\"" in caught[10]
    assert 'Unexpected keyword argument "latents"' in caught[11]
    assert 'Argument "batch" to "forward" of "LatentGNN" has incompatible type' in caught[12]
    assert '"None" has no attribute "train"' in caught[13]
