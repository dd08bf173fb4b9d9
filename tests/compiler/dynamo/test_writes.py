"""torch.compile(backend="kiln"): what a graph writes into is written, as in eager PyTorch, and its numbers come
from engines; weights that are assigned are noticed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import compiler.dynamo  # noqa: F401  registers the backend
from compiler.dynamo import KilnWarning, kiln
from compiler.dynamo.compiled import Compiled
from compiler.dynamo.memory import shared, span


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Both:
    """A function or module, eager and compiled, each with tensors and state of its own."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.copy = copy.deepcopy(plain) if isinstance(plain, nn.Module) else plain
        self.made: list[Any] = []
        self.compiled = torch.compile(self.copy, backend=self.backend)
        self.said: list[str] = []

    def backend(self, graph: Any, inputs: Any) -> Any:
        self.made.append(kiln(graph, inputs, options={"simulate": True, "min_nodes": 1}))
        return self.made[-1]

    def agree(self, *calls: tuple[torch.Tensor, ...]) -> None:
        """Results, arguments and state are the same after each call."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for call in calls:
                mine, other = ([tensor.clone() for tensor in call] for _ in range(2))
                want, got = self.plain(*mine), self.compiled(*other)
                torch.testing.assert_close(got, want)
                torch.testing.assert_close(other, mine)
                if isinstance(self.plain, nn.Module):
                    torch.testing.assert_close(self.copy.state_dict(), self.plain.state_dict())
        self.said += [str(w.message) for w in caught if w.category is KilnWarning]

    def kinds(self) -> list[list[str]]:
        """The segments of each graph; empty where torch runs it."""
        return [
            [s.kind for m in one._made.values() if m.runner for s in m.runner.report.segments]
            if isinstance(one, Compiled) else [] for one in self.made
        ]  # fmt: skip


Pair = tuple[torch.Tensor, torch.Tensor]


def pairs(count: int = 3, *shape: int) -> list[Pair]:
    torch.manual_seed(0)
    return [tuple(torch.randn(shape or (4, 4)) for _ in range(2)) for _ in range(count)]


def add(x: Any, y: Any) -> Any:
    x.add_(1)
    return (x * y).relu()


def out(x: Any, y: Any) -> Any:
    torch.add(x, y, out=x)
    return x * 2


def assigned(x: Any, y: Any) -> Any:
    x[:, 0] = 5
    return x + y


def index_put(x: Any, y: Any) -> Any:
    x.index_put_((torch.tensor([0]),), y[0])
    return x.sum()


def the_input_itself(x: Any, y: Any) -> Any:
    x.mul_(y)
    return x


def nothing(x: Any, y: Any) -> None:
    x.add_(y.sin())


def swapped(x: Any, y: Any) -> Any:
    kept = x.clone()
    x.copy_(y)
    y.copy_(kept)
    return kept, x * y


def through_a_view(x: Any, y: Any) -> Any:
    x.t().mul_(2)
    return y + 1


def copies(x: Any, y: Any) -> Any:
    z = x.add_(y)
    return z, z.clone(), z.clone()


WAYS = (
    add, out, assigned, index_put, the_input_itself, nothing, swapped, through_a_view, copies,
)  # fmt: skip


@pytest.mark.parametrize("write", WAYS, ids=lambda f: f.__name__)
def test_inputs_are_written_and_engines_compute(write: Callable[..., Any]) -> None:
    both = Both(write)
    with torch.no_grad():
        both.agree(*pairs())
    assert both.kinds() == [["engine"]]
    assert both.said == []


def test_sizes_stay_dynamic() -> None:
    both = Both(add)
    with torch.no_grad():
        for size in (3, 5, 7, 4):
            both.agree(*pairs(1, size, 4))
    assert all(kinds == ["engine"] for kinds in both.kinds())
    assert both.said == []


def test_results_have_memory_of_their_own() -> None:
    x, y = torch.ones(4, 4), torch.ones(4, 4)
    compiled = Both(copies).compiled
    for _ in range(2):
        with torch.no_grad():
            itself, one, two = compiled(x, y)
        assert itself is x
        assert len({t.data_ptr() for t in (x, y, one, two)}) == 4


def test_an_input_without_its_gradients() -> None:
    def both(x: Any, y: Any) -> Any:
        return x.detach(), (x * y).relu()

    x = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        first, _ = Both(both).compiled(x, torch.ones(3))
    assert not first.requires_grad
    assert first.data_ptr() == x.data_ptr()


def test_a_conjugate_is_not_its_input() -> None:
    def turned(x: Any, y: Any) -> Any:
        return x.conj(), (x * y).abs()

    both = Both(turned)
    with torch.no_grad():
        both.agree((torch.randn(3, dtype=torch.complex64), torch.randn(3)))


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Remembers(nn.Module):
    """A running sum, read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += x.sum(0)
        return self.linear(x) + self.seen


class Caches(nn.Module):
    """A cache of keys that each call writes a row of."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(4, 4)
        self.register_buffer("keys", torch.zeros(8, 4))

    def forward(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        self.keys.index_copy_(0, place, self.key(x))
        return (x @ self.keys.t()).softmax(-1)


class Decays(nn.Module):
    """A parameter that forward scales."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.weight.mul_(0.5)
        return x @ self.weight


@pytest.mark.parametrize("make", [Norms, Remembers, Caches, Decays])
def test_buffers_are_written_and_never_recompiled(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    both = Both(make().train())
    places = [(torch.tensor([n, 7 - n]),) if make is Caches else () for n in range(6)]
    size = 2 if make is Caches else 8
    with torch.no_grad():
        both.agree(*((torch.randn(size, 4), *place) for place in places))
    assert both.kinds() == [["engine"]]
    assert both.said == []


class TestWhatEagerWouldDoOtherwise:
    def test_arguments_in_the_same_memory(self) -> None:
        compiled = Both(add).compiled
        for first, second in ((slice(0, 4), slice(2, 6)), (slice(0, 3), slice(3, 6))) * 2:
            mine = torch.randn(6, 4)
            other = mine.clone()
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                want, got = add(mine[first], mine[second]), compiled(other[first], other[second])
            torch.testing.assert_close((got, other), (want, mine))

    def test_it_says_so(self) -> None:
        compiled, x = Both(add).compiled, torch.randn(6, 4)
        with torch.no_grad(), pytest.warns(KilnWarning, match=r"shares its memory.*\n.*clone"):
            compiled(x[:4], x[2:])

    def test_gradients_of_what_is_written(self) -> None:
        def scaled(x: Any, y: Any) -> Any:
            x.mul_(y)
            return y.detach() + 1

        compiled = Both(scaled).compiled
        for _ in range(2):
            x, y = torch.ones(3), torch.full((3,), 2.0, requires_grad=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compiled(x, y)
            x.sum().backward()
            assert torch.equal(y.grad, torch.ones(3))

    def test_a_view_of_what_is_written_is_left_to_torch(self) -> None:
        def view(x: Any, y: Any) -> Any:
            x[1:3].mul_(y[0])
            return x[1:3]

        both = Both(view)
        with torch.no_grad():
            both.agree(*pairs())
        assert both.kinds() == [[]]
        assert "[alias]" in both.said[0]

    def test_a_resized_input(self) -> None:
        def grows(x: Any, y: Any) -> Any:
            x.resize_(2, 8).fill_(1)
            return y + 1

        both = Both(grows)
        with torch.no_grad():
            both.agree(*pairs())


def test_spans() -> None:
    x = torch.zeros(6, 4)
    start = x.data_ptr()
    assert span(x) == (start, start + 96)
    assert span(x.t()[1:, ::2]) == (start + 4, start + 96 - 16)
    assert span(x[:0]) == (0, 0)
    assert shared([0], [x[:3], 2, x[3:]]) is None
    assert shared([0], [x[:4], 2, x[3:]]) == (0, 2)
    assert shared([1], [x[:, :2], x[:, 2:]]) == (1, 0)  # interleaved: taken for shared


@torch.library.custom_op("kilnwrites::fill", mutates_args=("out",))
def fill(out: torch.Tensor, x: torch.Tensor) -> None:
    out.copy_(x * 2)


@torch.library.custom_op("kilnwrites::bump", mutates_args=("x",))
def bump(x: torch.Tensor, by: float = 1.0) -> torch.Tensor:
    x.add_(by)
    return x * 3


@bump.register_fake
def _(x: torch.Tensor, by: float = 1.0) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("kilnwrites::pair", mutates_args=("a", "b"))
def pair(
    a: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    a.add_(x)
    if b is not None:
        b.mul_(a)
    return x + 1, x - 1


@pair.register_fake
def _(
    a: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@torch.library.custom_op("kilnwrites::many", mutates_args=("xs",))
def many(xs: list[torch.Tensor]) -> None:
    for n, x in enumerate(xs):
        x.add_(n + 1)


LIBRARY = torch.library.Library("kilnwritesl", "DEF")
LIBRARY.define("inc_(Tensor(a!) x) -> Tensor(a!)")
LIBRARY.impl("inc_", lambda x: x.add_(1), "CompositeExplicitAutograd")
LIBRARY.define("both_(Tensor(a!) x, float f, *, Tensor(b!) y) -> (Tensor(b!), Tensor(a!))")
LIBRARY.impl("both_", lambda x, f, *, y: (y.mul_(f), x.add_(f)), "CompositeExplicitAutograd")
LIBRARY.define("doubled(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
LIBRARY.impl("doubled", lambda x, *, out: out.copy_(x * 2), "CompositeExplicitAutograd")
OWN = torch.ops.kilnwrites


class Layers(nn.Module):
    def __init__(self, between: Callable[..., Any]) -> None:
        super().__init__()
        self.between = between
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.two(self.between(self.one(x).relu(), x, y)).relu() + y


def filled(h: Any, x: Any, y: Any) -> Any:
    made = torch.empty_like(h)
    OWN.fill(made, h)
    return made


def bumped_input(h: Any, x: Any, y: Any) -> Any:
    return OWN.bump(x) + h


def bumped_views(h: Any, x: Any, y: Any) -> Any:
    OWN.bump(h.t()[0], 2.0)
    OWN.bump(h[1:3])
    return h


def paired(h: Any, x: Any, y: Any) -> Any:
    one, two = OWN.pair(h, y, x)
    return h * one - two


def half_paired(h: Any, x: Any, y: Any) -> Any:
    one, _ = OWN.pair(h, y)
    return h + one


def listed(h: Any, x: Any, y: Any) -> Any:
    OWN.many([h, x])
    return h * x


def incremented(h: Any, x: Any, y: Any) -> Any:
    return torch.ops.kilnwritesl.inc_(h) * h + torch.ops.kilnwritesl.inc_(x[1])


def both_returned(h: Any, x: Any, y: Any) -> Any:
    second, first = torch.ops.kilnwritesl.both_(h, 2.0, y=x)
    return second - first * h


def doubled(h: Any, x: Any, y: Any) -> Any:
    made = torch.empty_like(h)
    return torch.ops.kilnwritesl.doubled(h, out=made) + made


def foreach(h: Any, x: Any, y: Any) -> Any:
    torch._foreach_add_([h, x], 1.0)
    return h * x


OPERATORS = (
    filled, bumped_input, bumped_views, paired, half_paired, listed, incremented, both_returned, doubled, foreach,
)  # fmt: skip


@pytest.mark.parametrize("between", OPERATORS, ids=lambda f: f.__name__)
def test_an_operator_that_writes_runs_in_torch_alone(between: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    both = Both(Layers(between).eval())
    with torch.no_grad():
        both.agree(*pairs())
    (kinds,) = both.kinds()
    assert kinds[-1] == "engine"
    assert kinds.count("torch_graph") == (2 if between is bumped_views else 1)
    (message,) = both.said
    assert "test_writes.py:" in message
    assert "everything" not in message


class TestAssignedWeights:
    def changes(self, *changes: Callable[[nn.Module], Any]) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        compiled = Both(model)
        x = torch.randn(3, 4)
        with torch.no_grad():
            compiled.agree((x,))
            for change in changes:
                for one in (compiled.plain, compiled.copy):
                    torch.manual_seed(1)
                    change(one)
                compiled.agree((x,))
        assert compiled.kinds()[-1], compiled.said

    def test_data(self) -> None:
        self.changes(lambda m: setattr(m[0].weight, "data", torch.randn(4, 4)))

    def test_data_again_at_what_may_be_the_same_address(self) -> None:
        def assign(model: Any) -> None:
            model[0].weight.data = torch.randn(4, 4) + model[0].weight.data.mean()

        self.changes(assign, assign, assign)

    def test_the_same_memory_seen_otherwise(self) -> None:
        self.changes(lambda m: setattr(m[0].weight, "data", m[0].weight.data.t()))

    def test_load_state_dict(self) -> None:
        def load(model: Any) -> None:
            new = {name: torch.randn_like(t) for name, t in model.state_dict().items()}
            model.load_state_dict(new, assign=True)

        self.changes(load, load)

    def test_a_new_parameter(self) -> None:
        self.changes(lambda m: setattr(m[2], "weight", nn.Parameter(torch.randn(4, 4))))

    def test_a_new_module(self) -> None:
        self.changes(lambda m: m.__setitem__(2, nn.Linear(4, 4)))

    def test_parametrized_swap(self) -> None:
        self.changes(lambda m: torch.nn.utils.vector_to_parameters(torch.randn(40), m.parameters()))
