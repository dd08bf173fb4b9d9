"""What torch.compile calls in place of a graph.

Weights are baked into engines, while Dynamo passes them as arguments: one graph may serve all layers
of a model, and a parameter may be written between two calls. So a `Compiled` keeps a runner for each
set of weights that it has seen, identified by the tensors and their versions. A number that Dynamo
passes as an argument, such as a layer norm's epsilon under dynamic=True, is treated the same way.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compiler.convert.interpret import ConversionError
from compiler.dynamo.build import Runner, StateWritten, build
from compiler.dynamo.memory import apart, laid_out, shared
from compiler.dynamo.options import Options
from compiler.dynamo.region import Computed, Given, Literal, Region, Sized
from compiler.dynamo.tell import fall_back, told
from compiler.refused import Refused
from enginebundle.errors import BundleError
from enginebundle.format import dims
from enginebundle.format.spec import Target
from enginebundle.serve.dispatch import bind

LOG = logging.getLogger(__name__)

MAX_SETS = 64
"""Sets of weights that one graph is compiled for; further ones run in torch."""

MAX_WRITES = 3
"""Times that the same tensors may change before the graph stays in torch for good."""

Key = tuple[tuple[Any, ...], ...]
"""Of each weight its id, and what changes when it is written or assigned; of each number its hexadecimal form."""


@dataclass
class _Made:
    """A runner, or None where this set of weights runs in torch.

    `held` keeps the weights alive, so that their ids stay unique, and the memory that they have now, so that no
    tensor that is assigned to one later lies at the same address.
    """

    runner: Runner | None
    held: tuple[torch.Tensor, ...]
    checked: bool


class Compiled:
    """A region, called with the arguments of Dynamo's graph."""

    def __init__(
        self, region: Region, eager: Callable[..., Any], options: Options, target: Target
    ) -> None:
        self.region = region
        self.eager = eager
        self.options = options
        self.target = target
        self._lock = threading.Lock()
        self._made: dict[Key, _Made] = {}
        self._writes = 0
        self._said: set[str] = set()
        self._arguments = {
            spec.name: place for spec, place in zip(region.inputs, region.arguments, strict=True)
        }
        self._indices = tuple(region.weights.values())
        self._numbers = tuple(region.numbers.values())
        self._ranges = region.profile.symbols

    def prepare(self, args: Sequence[Any]) -> Compiled:
        """Compile for the weights among these arguments now, rather than at the first call. Returns itself."""
        self._find(args)
        return self

    def __call__(self, *args: Any) -> Any:
        made = self._find(args)
        if made.runner is None:
            return self.eager(*args)
        inputs = self._inputs(args)
        symbols = bind(self.region.inputs, {name: t.shape for name, t in inputs.items()})
        outside = [f"{s}={n}" for s, n in symbols.items() if n not in self._ranges[s]]
        written = made.runner.written
        places = [self._arguments[name] for name in written]
        if written and not self._may_write(places, args):
            return self.eager(*args)
        if outside:
            self._say(
                "range",
                f"sizes {', '.join(outside)} are outside the engine's {self._spelled()}",
                "torch._dynamo.mark_dynamic(tensor, dim, min=.., max=..) before the first call",
            )
            return self.eager(*args)
        drawn = _Dice() if self.options.check and not made.checked else None
        try:
            with torch.no_grad():
                results = apart(made.runner(inputs), inputs.values())
        except BundleError as error:
            made.runner = None
            self._say("runtime", str(error), "see the message")
            return self.eager(*args)
        if drawn is not None:
            drawn.restore()
            with torch.no_grad():
                want = self.eager(*args)  # which also writes into the arguments
            wrong = made.runner.differs(
                results, [*self._computed(want), *(inputs[n] for n in written)]
            )
            if wrong:
                made.runner = None
                self._say(
                    "accuracy", f"the results differ from torch's: {wrong}",
                    "keep the module that causes it in torch with torch_executed_modules",
                )  # fmt: skip
                return want
            made.checked = True
        elif written:
            with torch.no_grad():
                for place, value in zip(places, results[-len(written) :], strict=True):
                    args[place].copy_(value)
        return self._results(results, args, symbols)

    def _find(self, args: Sequence[Any]) -> _Made:
        weights = tuple(args[index] for index in self._indices)
        key: Key = tuple(map(_state, weights))
        numbers = tuple(float(args[index]) for index in self._numbers)
        key += tuple((number.hex(),) for number in numbers)
        made = self._made.get(key)
        if made is None:
            with self._lock:
                made = self._made.get(key) or self._make(key, weights, numbers)
        return made

    def _make(
        self, key: Key, weights: tuple[torch.Tensor, ...], numbers: tuple[float, ...]
    ) -> _Made:
        ids = [one[0] for one in key]
        old = [k for k in self._made if [one[0] for one in k] == ids]
        self._writes += len(old)
        for stale in old:
            del self._made[stale]
        runner = None
        if self._writes > MAX_WRITES:
            self._say(
                "weights",
                "the model's parameters change between calls",
                "compile it after training",
            )
        elif len(self._made) >= MAX_SETS:
            self._say(
                "weights", f"more than {MAX_SETS} sets of weights and numbers are passed to this graph",
                "pass changing numbers as tensors; compile the modules one by one",
            )  # fmt: skip
        else:
            runner = self._build(weights, numbers)
        held = (*weights, *(weight.detach() for weight in weights))
        self._made[key] = _Made(runner, held, checked=False)
        return self._made[key]

    def _build(
        self, weights: tuple[torch.Tensor, ...], numbers: tuple[float, ...]
    ) -> Runner | None:
        named: dict[str, torch.Tensor | float] = {}
        named |= dict(zip(self.region.weights, weights, strict=True))
        named |= dict(zip(self.region.numbers, numbers, strict=True))
        try:
            runner = build(self.region, named, self.options, self.target)
        except Refused as error:
            if isinstance(error, StateWritten) and not self._made:
                raise
            self._refuse(error, error.code, error.message, error.remedy)
        except BundleError as error:
            self._refuse(error, "runtime", str(error), "see the message")
        except (ArithmeticError, AssertionError, AttributeError, ConversionError, LookupError,
                NotImplementedError, RuntimeError, TypeError, ValueError) as error:  # fmt: skip
            LOG.info("a graph runs in torch", exc_info=error)
            text = f"the compiler failed: {type(error).__name__}: {str(error)[:500]}"
            self._refuse(
                error, "internal", text, "please report it with the log of compiler.dynamo"
            )
        else:
            return self._judged(runner)
        return None

    def _judged(self, runner: Runner) -> Runner | None:
        """The runner if some of it is an engine, after a warning about what is not."""
        report = runner.report
        for code, detail, remedy in told(report):
            self._say(code, detail, remedy)
        if any(segment.kind == "engine" for segment in report.segments):
            return runner
        LOG.info("no engine in the graph%s: %s", self.region.place, report.text())
        return None

    def _refuse(self, error: Exception, code: str, message: str, remedy: str) -> None:
        if self.options.require_full_compilation:
            raise error
        if code != "empty":
            self._say(code, message, remedy)

    def _may_write(self, places: Sequence[int], args: Sequence[Any]) -> bool:
        """Whether copying new values into these arguments does all that the eager graph would do."""
        if torch.is_grad_enabled() and any(
            isinstance(a, torch.Tensor) and a.requires_grad for a in args
        ):
            self._say(
                "gradients", "it writes into its inputs while gradients are recorded",
                "call the model under torch.no_grad() or torch.inference_mode()",
            )  # fmt: skip
            return False
        if shared(places, args) is not None:
            self._say(
                "alias", "it writes into an input that shares its memory with another",
                "pass tensors with memory of their own: .clone()",
            )  # fmt: skip
            return False
        return True

    def _say(self, code: str, message: str, remedy: str) -> None:
        """Warn once for each graph and cause."""
        if code not in self._said:
            self._said.add(code)
            fall_back(self.region.place, code, message, remedy)

    def _inputs(self, args: Sequence[Any]) -> dict[str, torch.Tensor]:
        inputs = {}
        for spec, index in zip(self.region.inputs, self.region.arguments, strict=True):
            value = args[index]
            if not isinstance(value, torch.Tensor):
                value = torch.empty(1, dtype=torch.bool).expand(int(value))
            inputs[spec.name] = value.detach()
        return inputs

    def _computed(self, results: Sequence[Any]) -> list[torch.Tensor]:
        """Of the eager graph's results, those that the runner computes, in its order."""
        found = {
            how.number: result
            for how, result in zip(self.region.returns, results, strict=True)
            if isinstance(how, Computed)
        }
        return [found[number] for number in sorted(found)]

    def _results(
        self, tensors: list[torch.Tensor], args: Sequence[Any], symbols: dict[str, int]
    ) -> tuple[Any, ...]:
        made: list[Any] = []
        for how in self.region.returns:
            match how:
                case Computed(number, device, order):
                    tensors[number] = laid_out(tensors[number].to(device), order)
                    made.append(tensors[number])
                case Given(argument, alone):
                    given = args[argument]
                    made.append(given.detach() if alone and given.requires_grad else given)
                case Sized(dim):
                    made.append(dims.evaluate(dim, symbols))
                case Literal(value):
                    made.append(value)
        return tuple(made)

    def _spelled(self) -> str:
        return ", ".join(f"{s} {r.min} to {r.max}" for s, r in self._ranges.items())


class _Dice:
    """The state of torch's random numbers, so that the eager graph draws what the runner drew."""

    def __init__(self) -> None:
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


def _state(weight: torch.Tensor) -> tuple[Any, ...]:
    """Its id, its memory, how its elements lie there (`p.data = ...` changes these), and how often it was written
    in place; -1 in inference mode, where nothing counts."""
    version = -1 if weight.is_inference() else weight._version
    return id(weight), version, weight.data_ptr(), weight.shape, weight.stride()
