r"""What CI runs is what a person would run: the targets of the Makefile."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):", ROOT.joinpath("Makefile").read_text(), re.MULTILINE))
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
# Before `make fresh`: no environment of the checkout is needed to build what it installs.
OTHERS = {"bash .ci/run", "pip install build", "python -m build"}


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def unknown(command: str) -> list[str]:
    r"""Words of a call of make that are neither targets nor settings."""
    words = re.sub(r'=("[^"]*"|\$\{\{.*?\}\}|\S*)', "=", command.partition("#")[0]).split()
    return [word for word in words[1:] if not word.endswith("=") and word not in TARGETS]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_workflows_call_targets_that_there_are(workflow: Path) -> None:
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    for command in commands:
        assert command in OTHERS or command.startswith("make "), command
        assert command in OTHERS or unknown(command) == []


def test_what_has_to_pass_calls_targets_that_there_are() -> None:
    lines = ROOT.joinpath(".ci/run").read_text().splitlines()
    calls = [line for line in lines if line.startswith("make ")]
    assert len(calls) > 5
    assert [unknown(call) for call in calls] == [[]] * len(calls)


def test_a_target_that_is_not_there_is_found() -> None:
    assert unknown('make test docs-all ARGS="-k x" EXTRA=a  # why') == ["docs-all"]
