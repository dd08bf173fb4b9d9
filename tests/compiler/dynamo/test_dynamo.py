"""torch.compile(backend="kiln"): each graph apart, dynamic sizes, fallbacks that name their cause."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed
from torch._dynamo.utils import counters
from torch.nn.functional import scaled_dot_product_attention as attend

import compiler.dynamo as dynamo
from compiler.build.apart import Apart
from compiler.build.engine_cache import EngineCache
from compiler.dynamo import KilnWarning, Options, kiln
from compiler.dynamo.compiled import MAX_WRITES, Compiled
from compiler.goldens.goldens import GoldenSource
from compiler.pipeline import BuildRequest, TraceRequest, build_program, trace_model
from compiler.replace.replacement import Replacement
from compiler.trace.source import Source
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.storage.store import Store

HERE = Path(__file__).parent
EXAMPLES = str(HERE.parent / "replace")
"""The folder of replace_examples.py."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    dynamo._say_no_gpu.cache_clear()
    yield
    torch._dynamo.reset()


class Seen:
    """A backend that keeps what kiln made of each graph."""

    def __init__(self, **options: Any) -> None:
        self.options = {"simulate": True, "min_nodes": 1, **options}
        self.made: list[Any] = []

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.made.append(kiln(graph, inputs, options=self.options))
        return self.made[-1]

    def kinds(self) -> list[list[str]]:
        """Kinds of segments, by graph; empty where torch runs all of it."""
        return [
            [segment.kind for made in one._made.values() if made.runner
             for segment in made.runner.report.segments]
            if isinstance(one, Compiled) else []
            for one in self.made
        ]  # fmt: skip


def run(
    model: Callable[..., Any], *calls: tuple[Any, ...], dynamic: bool | None = None, **options: Any
) -> tuple[Seen, list[str]]:
    """Compile, call, hold each result against the eager one; what kiln did, and its warnings."""
    seen = Seen(**options)
    compiled = torch.compile(model, backend=seen, dynamic=dynamic)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        for call in calls:
            want = model(*[a.clone() if isinstance(a, torch.Tensor) else a for a in call])
            got = compiled(*call)
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    return seen, [str(w.message) for w in caught if issubclass(w.category, KilnWarning)]


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).softmax(-1)


class Attends(nn.Module):
    """Batch and sequence, with sizes in the arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        b, s, _ = x.shape
        q, k, v = (t.view(b, s, 4, 4).transpose(1, 2) for t in self.project(x).chunk(3, -1))
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).reshape(b, s, 16) / s, b * s


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return Perceptron().eval()


def marked(*shape: int, **bounds: int) -> torch.Tensor:
    x = torch.randn(*shape)
    torch._dynamo.mark_dynamic(x, 0, **bounds)
    return x


class TestFindingTheBackend:
    def test_by_name(self) -> None:
        assert torch._dynamo.lookup_backend("kiln") is kiln

    def test_the_entry_point_names_it(self) -> None:
        project = tomllib.loads((HERE.parents[2] / "pyproject.toml").read_text())["project"]
        module, _, name = project["entry-points"]["torch_dynamo_backends"]["kiln"].partition(":")
        assert (module, name) == (kiln.__module__, kiln.__name__)

    def test_an_installed_distribution_s_entry_point_is_enough(self, tmp_path: Path) -> None:
        """Torch registers what an entry point names: our import must not have done so already."""
        info = tmp_path / "named-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: named\nVersion: 1\n")
        group = "[torch_dynamo_backends]\nkiln = compiler.dynamo:kiln\n"
        (info / "entry_points.txt").write_text(group)
        text = "from torch._dynamo import lookup_backend; print(lookup_backend('kiln').__name__)"
        paths = os.pathsep.join((str(tmp_path), str(HERE.parents[2])))
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        assert (done.stdout.strip(), done.returncode) == ("kiln", 0), done.stderr

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
    def test_without_a_gpu_it_says_so_once_and_runs_torch(self) -> None:
        model, x = perceptron(), torch.randn(2, 8)
        with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for one in (model, perceptron()):
                torch._dynamo.reset()
                torch.testing.assert_close(torch.compile(one, backend="kiln")(x), one(x))
        said = [str(w.message) for w in caught if w.category is KilnWarning]
        assert len(said) == 1
        assert "sees none" in said[0]

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"simulat": True}, "near: simulate"),
            ({"simulate": 1}, "expected a bool"),
            ({"precision": "fp12"}, "expected fp32"),
            ({"effort": "most"}, "effort 'most': expected fast, default, max"),
            ({"torch_executed_ops": "aten.add"}, "expected a list"),
            ({"replace": [{"module": "a", "with": "b:c"}]}, "before torch.compile"),
        ],
    )
    def test_wrong_options(self, options: dict[str, Any], text: str) -> None:
        with pytest.raises(ValueError, match=text):
            Options.of(options)

    def test_wrong_options_reach_the_user(self) -> None:
        with pytest.raises(BackendCompilerFailed, match="near: simulate"):
            torch.compile(perceptron(), backend="kiln", options={"simulat": True})(
                torch.zeros(2, 8)
            )


class TestWholeGraphs:
    def test_one_engine_no_warning(self) -> None:
        seen, said = run(perceptron(), (torch.randn(2, 8),))
        assert (seen.kinds(), said) == ([["engine"]], [])

    def test_options_by_torch_compile(self) -> None:
        model = perceptron()
        compiled = torch.compile(model, backend="kiln", options={"simulate": True})
        x = torch.randn(2, 8)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x))

    def test_strides_are_eager_s(self) -> None:
        def turned(x: torch.Tensor) -> torch.Tensor:
            return (x * 2).transpose(1, 2)

        x = torch.randn(2, 3, 4)
        with torch.no_grad():
            got = torch.compile(turned, backend=Seen())(x)
        assert got.stride() == turned(x).stride()
        assert torch.equal(got, turned(x))

    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_half_precision(self, precision: str) -> None:
        model, x = perceptron(), torch.randn(2, 8)
        seen = Seen(precision=precision)
        with torch.no_grad():
            got = torch.compile(model, backend=seen)(x)
            torch.testing.assert_close(got, model(x), rtol=0.05, atol=0.02)
        assert seen.kinds() == [["engine"]]

    def test_half_precision_inputs_on_any_device_argument(self) -> None:
        def positions(x: torch.Tensor) -> torch.Tensor:
            return x + torch.arange(x.shape[1], device=x.device, dtype=x.dtype)

        assert run(positions, (torch.randn(2, 8),))[0].kinds() == [["engine"]]


class TestDynamicSizes:
    def test_a_marked_batch_never_recompiles(self) -> None:
        calls = [(marked(4, 8, min=2, max=64),), *((torch.randn(n, 8),) for n in (2, 7, 33, 64))]
        with torch._dynamo.config.patch(error_on_recompile=True):
            seen, said = run(perceptron(), *calls)
        assert counters["stats"]["unique_graphs"] == 1
        assert (seen.kinds(), said) == ([["engine"]], [])
        assert len(seen.made[0]._made) == 1
        ((_, bounds),) = seen.made[0].region.profile.ranges
        assert (bounds.min, bounds.opt, bounds.max) == (2, 4, 64)

    def test_all_sizes_dynamic(self) -> None:
        model = Attends().eval()
        calls = [(torch.randn(b, s, 16),) for b, s in ((2, 5), (3, 7), (6, 4), (9, 17))]
        seen, said = run(model, *calls, dynamic=True)
        assert counters["stats"]["unique_graphs"] == 1
        assert (seen.kinds(), said) == ([["engine"]], [])

    def test_beyond_the_range_torch_runs_and_says_so_once(self) -> None:
        calls = [(torch.randn(n, 8),) for n in (4, 16, 40, 50)]
        seen, said = run(perceptron(), *calls, dynamic=True, growth=4)
        assert seen.kinds() == [["engine"]]
        (message,) = said
        assert "s0=40" in message
        assert "mark_dynamic" in message

    def test_sizes_as_inputs_and_results(self) -> None:
        def grow(x: torch.Tensor, n: int) -> tuple[torch.Tensor, int, torch.Tensor]:
            return x.repeat(n, 1), x.shape[0] * 2 + n, torch.arange(n) * 2

        calls = [(torch.randn(4, 3), n) for n in (3, 5, 6, 7)]
        seen, said = run(grow, *calls, dynamic=True)
        assert counters["stats"]["unique_graphs"] == 1
        assert (seen.kinds(), said) == ([["engine"]], [])

    def test_numbers_are_constants_of_what_is_built(self) -> None:
        def scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
            return torch.relu(x * factor) + factor

        calls = [(torch.randn(4, 3), factor) for factor in (0.5, 1.5, 0.5, -2.0)]
        seen, said = run(scaled, *calls, dynamic=True)
        assert said == []
        assert all(kinds and set(kinds) == {"engine"} for kinds in seen.kinds())

    def test_a_number_without_bounds(self) -> None:
        def shift(x: torch.Tensor, n: int) -> torch.Tensor:
            return x + n

        _, said = run(shift, *((torch.randn(4), n) for n in (3, 5, -4)), dynamic=True)
        assert any("may be negative [sizes]" in message for message in said)


class Branching(nn.Module):
    """A branch on data between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.one(x))
        if x.sum() > 3:
            return torch.tanh(self.two(x))
        return self.three(x)


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return torch.relu(self.fc(x))


class TestGraphBreaks:
    def test_control_flow_by_data(self) -> None:
        torch.manual_seed(0)
        model = Branching().eval()
        seen, said = run(model, (marked(4, 8),), (torch.zeros(6, 8),), (torch.ones(5, 8) * 9,))
        assert all(kinds == ["engine"] for kinds in seen.kinds())
        assert len(seen.made) >= 3
        assert said == []

    def test_one_graph_for_layers_with_weights_of_their_own(self) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(*(Breaking() for _ in range(4))).eval()
        seen, said = run(model, (torch.randn(2, 8),), (torch.randn(2, 8),))
        assert said == []
        shared = max(seen.made, key=lambda made: len(made._made))
        assert len(shared._made) == 4


class TestWeights:
    def test_written_in_place_they_count(self) -> None:
        model = perceptron()
        seen = Seen()
        compiled = torch.compile(model, backend=seen)
        x = torch.randn(2, 8)
        with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for n in range(MAX_WRITES + 2):
                torch.testing.assert_close(compiled(x), model(x))
                assert bool(seen.kinds()[0]) == (n <= MAX_WRITES)
                model.layers[0].weight.mul_(1.5)
        said = [str(w.message) for w in caught if w.category is KilnWarning]
        assert len(said) == 1
        assert "change between calls" in said[0]


class Erring(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.airy_ai(self.fc(x)) * 2


class TestFallbacks:
    def test_a_node_names_its_place_reason_and_remedy(self) -> None:
        torch.manual_seed(0)
        seen, (message,) = run(Erring().eval(), *[(torch.randn(8, 8),)] * 2)
        assert seen.kinds() == [["engine", "torch_graph", "engine"]]
        for part in ("aten.special_airy_ai", "test_dynamo.py:", "no_converter", "replace it"):
            assert part in message

    @pytest.mark.parametrize(
        ("function", "code"),
        [
            (lambda x: x.t(), "alias"),
            (lambda x: (x * 2, x.view(-1)), "alias"),
        ],
    )
    def test_shared_memory(self, function: Callable[..., Any], code: str) -> None:
        seen, said = run(function, (torch.randn(2, 3),))
        assert seen.kinds() == [[]]
        (message,) = said
        assert f"[{code}]" in message
        assert "Remedy" in message

    def test_gradients(self) -> None:
        model, x = perceptron(), torch.randn(2, 8)
        with pytest.warns(KilnWarning, match="no_grad"):
            loss = torch.compile(model, backend=Seen())(x).sum()
        loss.backward()
        assert model.layers[0].weight.grad is not None

    def test_autocast(self) -> None:
        model, x = perceptron(), torch.randn(2, 8)
        compiled = torch.compile(model, backend=Seen())
        with torch.no_grad(), torch.autocast("cpu"):
            with pytest.warns(KilnWarning, match="precision"):
                got = compiled(x)
            torch.testing.assert_close(got, model(x))

    def test_full_compilation_is_an_error_instead(self) -> None:
        compiled = torch.compile(Erring().eval(), backend=Seen(require_full_compilation=True))
        with torch.no_grad(), pytest.raises(BackendCompilerFailed, match="airy_ai"):
            compiled(torch.randn(8, 8))

    def test_small_graphs_stay_in_torch_without_noise(self) -> None:
        seen, said = run(lambda x: x * 2, (torch.randn(2, 3),), min_nodes=3)
        assert (seen.kinds(), said) == ([[]], [])

    def test_wrong_numbers_are_not_returned(self) -> None:
        wrong = Replacement("operator", "aten.gelu", "converter", "replace_examples:swish_as_gelu")
        model, x = perceptron(), torch.randn(2, 8)
        seen, said = run(model, (x,), (x,), replace=[wrong], search_path=[EXAMPLES])
        assert seen.kinds() == [[]]
        assert "results differ from torch's" in said[0]


class TestKeepingOut:
    @pytest.mark.parametrize("pattern", ["layers.1", "GELU", "layers.[12]", "*GELU"])
    def test_modules(self, pattern: str) -> None:
        seen, (message,) = run(perceptron(), (torch.randn(2, 8),), torch_executed_modules=[pattern])
        assert seen.kinds() == [["engine", "torch_graph", "engine"]]
        assert "torch_executed_modules" in message

    @pytest.mark.parametrize("pattern", ["aten.gelu.default", "aten.gelu", "aten.ge?u.*"])
    def test_operators(self, pattern: str) -> None:
        seen, (message,) = run(perceptron(), (torch.randn(2, 8),), torch_executed_ops=[pattern])
        assert seen.kinds() == [["engine", "torch_graph", "engine"]]
        assert "torch_executed_ops" in message

    def test_what_matches_nothing_is_told_once(self) -> None:
        pattern = ["layers.l"]
        seen, said = run(perceptron(), (torch.randn(2, 8),), torch_executed_modules=pattern)
        assert seen.kinds() == [["engine"]]
        assert "near matches: layers" in said[0]
        assert run(perceptron(), (torch.randn(3, 8),), torch_executed_modules=pattern)[1] == []


class TestReplacing:
    def options(self, *ways: tuple[str, str]) -> dict[str, Any]:
        replace = [
            {"operator": "kiln_examples.wave", way: f"replace_examples:{by}"} for way, by in ways
        ]
        return {"replace": replace, "search_path": [EXAMPLES]}

    @pytest.mark.parametrize("way", [("converter", "wave_on_net"), ("with", "plain_wave")])
    def test_a_custom_operator(self, way: tuple[str, str]) -> None:
        import replace_examples

        seen, said = run(replace_examples.model().eval(), (torch.randn(2, 8),), **self.options(way))
        assert (seen.kinds(), said) == ([["engine"]], [])

    def test_modules_before(self) -> None:
        import replace_examples

        from compiler.replace.apply import replace_modules

        one = Replacement(
            "module", "MultiheadAttention", "with", "compiler.recipes.attention:multihead_attention"
        )
        model, x = replace_examples.encoder().eval(), torch.randn(2, 5, 16)
        with torch.no_grad():
            want = model(x)
            changed, _ = replace_modules(model, (one,))
            torch.testing.assert_close(changed(x), want, rtol=1e-4, atol=1e-5)
        seen, said = run(changed, (x,))
        assert (seen.kinds(), said) == ([["engine"]], [])


class TestSharedEngines:
    TARGET = Target("rtx", ("sm_89",))

    def farm_build(self, store: Store) -> None:
        """What the farm's trace and build steps do, for the same model at one shape."""
        inputs, profiles = (TensorSpec("x", "float32", (2, 8)),), (Profile("one", ()),)
        job = TraceRequest(
            Source("test_dynamo_model:perceptron", search_path=(str(HERE),)), inputs, profiles,
            GoldenSource(seed=0, cases=1),
        )  # fmt: skip
        traced = trace_model(job)
        build_program(
            traced.program, BuildRequest(self.TARGET, profiles), traced.goldens, EngineCache(store)
        )

    def test_what_the_farm_built_is_not_built_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "test_dynamo_model", sys.modules[__name__])
        self.farm_build(Store.open(tmp_path, create=True))

        def fail(*_: Any, **__: Any) -> bytes:
            raise AssertionError("built again")

        monkeypatch.setattr(Apart, "make_engine", fail)
        options = {"store": tmp_path, "target": "rtx:sm_89"}
        seen, said = run(perceptron(), (torch.randn(2, 8),), **options)
        assert (seen.kinds(), said) == ([["engine"]], [])
        torch._dynamo.reset()
        _, said = run(perceptron(), (torch.randn(3, 8),), **options)
        assert "built again" in said[0]

    def test_a_builder_that_dies_does_not_take_this_process_with_it(self, tmp_path: Path) -> None:
        def deadly(q: Any, k: Any, v: Any, w: Any) -> torch.Tensor:
            one = attend(q * 0.5, k * 0.25, v, scale=1.0)
            return torch.tanh(one + 0.6 * attend(q * 0.5, k * 0.25, w, scale=1.0)) * v + w

        _, said = run(
            deadly, tuple(torch.randn(4, 2, 4, 16, 8)), store=tmp_path, target="rtx:sm_89"
        )
        assert "died of SIGSEGV" in said[0]

    def test_engines_are_stored_for_a_machine_with_a_gpu(self, tmp_path: Path) -> None:
        run(perceptron(), (marked(4, 8, min=2, max=32),), store=tmp_path, target="rtx:sm_89")
        results = list(tmp_path.glob("results/*/*.json"))
        assert len(results) == 1
