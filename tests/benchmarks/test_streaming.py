r"""That what is measured computes what it should, and that results become a table and plots."""

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.streaming import cases, plan
from benchmarks.streaming.cases import Case
from benchmarks.streaming.checks import Check, checks
from benchmarks.streaming.composition import BatchNorm, Composition, random_running_statistics
from benchmarks.streaming.duel import Duel, Run, Workers
from benchmarks.streaming.entries import AUTHORS, ENTRIES, LATENT_PEERS, OURS, PRODUCTS
from benchmarks.streaming.exact import GraphByGraph, deviation, deviation_of_gradient
from benchmarks.streaming.plots import draw_plots
from benchmarks.streaming.report import write_report
from benchmarks.streaming.results import Results, statements
from benchmarks.streaming.subject import Subject

GRAPH = Case("a graph", (211,), 32, (13,))
GRAPHS = Case("graphs", (71, 1, 139), 32, (13,))
MAPS = Case("maps", (91, 91), 32, (5, 13), 2, is_map=True)
ONE_GRAPH_ONLY = {PRODUCTS, "scaled_dot_product_attention"}
NO_MAPS = ONE_GRAPH_ONLY | set(LATENT_PEERS) | {"AttentionalAggregation, MLP, broadcast"}


@pytest.mark.parametrize("case", [GRAPH, GRAPHS, MAPS], ids=lambda case: case.name)
@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_right(name: str, case: Case) -> None:
    entry = ENTRIES[name]
    if case is GRAPHS and (entry.channel_first or name in ONE_GRAPH_ONLY):
        pytest.skip("one graph, or graphs of one size")
    if case is MAPS and name in NO_MAPS:
        pytest.skip("no feature maps")
    subject = Subject(entry, case)
    for mode in ["training"] if entry.training else plan.MODES:
        error = subject.error(mode)
        assert error is not None
        assert error < 1e-5


def test_a_wrong_entry_is_seen() -> None:
    subject = Subject(ENTRIES[OURS], GRAPH)
    with torch.no_grad():
        subject.module.block.up.linear.weight[3, 5] += 0.1
    assert subject.error("forward") > 1e-4
    assert subject.error("training") > 1e-4


def test_exact_rows_are_those_of_the_composition() -> None:
    reference = GraphByGraph(Composition(GRAPHS), GRAPHS)
    random_running_statistics(reference)
    reference.double().eval()
    x = GRAPHS.nodes()
    with torch.no_grad():
        rows = torch.cat(list(reference.composition.exact(x[:71], rows=17)))
        torch.testing.assert_close(rows, reference(x.double(), None)[:71])


def test_gradient_of_the_composition_on_one_sample() -> None:
    case = Case("small", (12,), 6, (5,), 2)
    composition = Composition(case).double().eval()
    random_running_statistics(composition)
    maps = case.as_maps(case.nodes().double()).requires_grad_()
    assert torch.autograd.gradcheck(composition, maps, fast_mode=True, check_undefined_grad=False)


def test_batch_norm_is_that_of_torch() -> None:
    x = torch.randn(3, 5, 7, 2)
    assert torch.equal(BatchNorm(5)(x), nn.BatchNorm2d(5)(x))


def test_deviation() -> None:
    exact = torch.tensor([[1.0, -4.0], [2.0, 0.0]], dtype=torch.float64)
    found = torch.tensor([[1.0, -4.0], [3.0, 0.0]])
    assert deviation(found, exact.split(1)) == 0.25
    with pytest.raises(ValueError, match="expected 1 rows"):
        deviation(found, [exact[:1]])


def test_one_row_in_ten_thousand_of_a_gradient_may_be_another() -> None:
    exact = torch.ones(20_011, 3, dtype=torch.float64)
    found = exact.clone()
    found[:2] = 7
    assert deviation_of_gradient(found, exact) == 0
    found[2] = 7
    assert deviation_of_gradient(found, exact) == pytest.approx(6 / 20_011**0.5)


def test_memory_of_a_call() -> None:
    class Wasteful(nn.Module):
        def forward(self, x: torch.Tensor, batch: None) -> torch.Tensor:
            return torch.ones(25_000_000).sum() + x

    subject = Subject(ENTRIES[OURS], Case("large", (20_011,)))
    subject.module = Wasteful()
    memory = subject.memory("forward")
    assert 95e6 < memory["above"] < 130e6
    assert memory["above"] - memory["extra"] == subject.x.nbytes


def test_names_are_unique_and_every_check_is_planned(tmp_path: Path) -> None:
    duels = plan.duels()
    assert len({duel.name for duel in duels}) == len(duels)
    results = Results(tmp_path / "streaming.json", threads=2)
    assert {check.verdict for check in checks(results)} == {"not measured"}
    fill(results)
    assert not any("not measured" in check.verdict for check in checks(results))


def test_a_least_ratio_says_what_it_is_not_of(tmp_path: Path) -> None:
    results = Results(tmp_path / "streaming.json", threads=2)
    fill(results)
    (missing,) = plan.against(OURS, (AUTHORS,), cases.nodes(4_000_000), ("forward",))
    results.keep_times(missing, {})
    found = [check for check in checks(results) if "not measured" in check.verdict]
    assert [(check.value, check.verdict) for check in found] == [
        (10.0, "yes, N=4000000, forward not measured")
    ]


def fill(results: Results) -> None:
    r"""Our blocks take 1 and 2 seconds, all others 10 and 20."""
    facts = {"above": 300, "extra": 100, "process": 7, "anonymous": 5, "error": 2e-7}
    for duel in plan.duels():
        slower = 1.0 if duel.rival.entry.startswith(("LatentGNN", "GlobalContext")) else 10.0
        results.keep_times(duel, {"ours": [1.0, 2.0], "rival": [slower, 2 * slower]})
        for run in duel:
            results.keep_run(run, facts)
    results.keep_run(plan.FILE, facts)
    results.keep_run(plan.WHOLE_PROCESS, facts)


def test_results_are_kept_and_written(tmp_path: Path) -> None:
    results = Results(tmp_path / "streaming.json", threads=2)
    fill(results)
    (failing,) = plan.against(
        "LatentGNN", (AUTHORS,), Case("N=4000000", (4_000_000,)), ("training",)
    )
    results.keep_times(failing, {})
    results.keep_run(failing.rival, {"failed": "does not fit in memory"})
    results.save()

    again = Results(tmp_path / "streaming.json", threads=2)
    run = Run(OURS, "N=2500", "forward")
    assert again.seconds(run) == (1.5, 1.0, 2.0)
    assert again.is_current(failing.name)
    assert again.ratio(failing.name) is None
    assert again.ratio(Duel(run, run._replace(entry=PRODUCTS)).name) == 10.0
    write_report(again, tmp_path / "streaming.md")
    text = (tmp_path / "streaming.md").read_text()
    assert "| authors' composition | training | does not fit in memory |" in text
    assert "Not measured, since a call takes a minute or more: GPSConv, multihead" in text
    assert "another version" not in text
    draw_plots(again, tmp_path)
    assert "PerformerAttention" in (tmp_path / "over_nodes.svg").read_text()

    with pytest.raises(ValueError, match="choose another folder with --out"):
        Results(tmp_path / "streaming.json", threads=3)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (Check("", 3.0, 4.0, 5.0), "no"),
        (Check("", 4.0, 4.0, 5.0), "bar"),
        (Check("", 5.0, 4.0, 5.0), "goal"),
        (Check("", 0.7, 1.2, 0.75, at_least=False), "goal"),
        (Check("", 1.3, 1.2, at_least=False), "no"),
        (Check("", 1.2, 1.2, at_least=False), "yes"),
        (Check("", None, 1.2, missing=("A", "B")), "not measured"),
        (Check("", 1.2, 1.2, missing=("A", "B")), "yes, A not measured, B not measured"),
        (Check("", 1.1, 1.2, missing=("A",)), "no"),
    ],
)
def test_verdicts(check: Check, verdict: str) -> None:
    assert check.verdict == verdict


def test_forward_passes_have_a_process_that_never_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __init__(self, run: Run, threads: int) -> None:
            self.run, self.closed = run, False

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr("benchmarks.streaming.duel.Worker", Process)
    forward, training = (Run(OURS, GRAPH.name, mode) for mode in ("forward", "training"))
    pool = Workers(2)
    first = pool.of(forward)
    assert pool.of(training) is not first
    assert pool.of(forward) is first
    pool.drop(forward)
    assert first.closed
    assert pool.of(forward) is not first


def test_results_are_of_another_version_by_what_the_code_does() -> None:
    code = 'def f(x):\n    "Doubles."\n    return 2 * x\n'
    assert statements(code) == statements("def f(x):\n    # Twice.\n    return (2\n        * x)")
    for changed in ("def f(x): return 3 * x", "def f(x, y): return 2 * x", "def f(x): return"):
        assert statements(code) != statements(changed)
