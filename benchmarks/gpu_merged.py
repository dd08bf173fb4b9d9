"""Many small networks in one TensorRT engine: how thousands of cases get through one GPU.

Making a TensorRT Builder takes seconds and each engine some more, so cases are built and executed
together, each with inputs and outputs of its own; a batch that fails is halved until the case to
blame stands alone. Each worker is a process, since a wrong engine can break its CUDA context.

    worker(prepare)              answers batches of case numbers on standard input with rows
    run(command, count, ...)     feeds workers, halves what fails, yields rows as they come
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One case: its network, the graph that bounds its sizes, and what to feed it, in turn."""

    network: Any
    graph: Any
    sizes: tuple[int, ...]
    feeds: Sequence[Mapping[str, torch.Tensor]]
    judge: Callable[[Sequence[Mapping[str, torch.Tensor]]], Row]
    """The outputs of each feed -> the case's row."""


class Batches:
    """Builds and executes parts together, with one Builder for all batches of a process."""

    def __init__(self, trt: Any, level: int = 0) -> None:
        from compiler.build.builder import process_builder

        self.trt, self.level = trt, level
        self.builder, self.log = process_builder(trt)

    def rows(self, parts: Sequence[Part]) -> list[Row]:
        """A row each. RuntimeError where the batch does not build or run."""
        from compiler.network.emit import EmitError, Emitter
        from compiler.network.older import fitted
        from enginebundle.format.spec import Profile, Range

        trt = self.trt
        self.log.lines.clear()
        flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        definition = self.builder.create_network(flag)
        kept = []
        try:
            for number, part in enumerate(parts):
                named = prefixed(fitted(part.network, trt), f"p{number}_")
                kept.append(Emitter(trt, definition).emit(named))
        except EmitError as error:
            raise RuntimeError(f"not emitted: {error}{self.log.quote()}") from error
        config = self.builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        config.builder_optimization_level = self.level
        merged = self.builder.create_optimization_profile()
        for number, part in enumerate(parts):
            low, high = part.sizes[0], part.sizes[-1]
            middle = part.sizes[len(part.sizes) // 2]
            profile = Profile("p", (("n", Range(low, middle, high)),))
            for spec in part.graph.inputs:
                sizes = [spec.sizes(profile.at(point)) for point in ("min", "opt", "max")]
                merged.set_shape(f"p{number}_{spec.name}", *sizes)
        config.add_optimization_profile(merged)
        engine = self.builder.build_serialized_network(definition, config)
        del kept
        if engine is None:
            raise RuntimeError(f"not built{self.log.quote()}")
        return self._executed(engine, parts)

    def _executed(self, engine: Any, parts: Sequence[Part]) -> list[Row]:
        from tests.gpu.execute import execute

        outputs: list[list[dict[str, torch.Tensor]]] = [[] for _ in parts]
        for turn in range(max(len(part.feeds) for part in parts)):
            feeds: dict[str, torch.Tensor] = {}
            for number, part in enumerate(parts):
                feed = part.feeds[min(turn, len(part.feeds) - 1)]
                feeds |= {f"p{number}_{name}": tensor for name, tensor in feed.items()}
            found = execute(self.trt, engine, feeds)
            for number, part in enumerate(parts):
                if turn < len(part.feeds):
                    lead = f"p{number}_"
                    own = {n[len(lead) :]: t for n, t in found.items() if n.startswith(lead)}
                    outputs[number].append(own)
        return [part.judge(own) for part, own in zip(parts, outputs, strict=True)]


def prefixed(network: Any, lead: str) -> Any:
    """The network with `lead` before the names of its inputs, outputs and tensors."""
    made: dict[str, Any] = {}

    def named(tensor: Any) -> Any:
        if tensor is None:
            return None
        if tensor.name not in made:
            made[tensor.name] = replace(tensor, name=lead + tensor.name)
        return made[tensor.name]

    inputs = tuple(named(t) for t in network.inputs)
    layers = tuple(
        replace(
            layer,
            inputs=tuple(named(t) for t in layer.inputs),
            outputs=tuple(named(t) for t in layer.outputs),
            node=lead + layer.node,
        )
        for layer in network.layers
    )
    outputs = tuple((lead + name, named(tensor)) for name, tensor in network.outputs)
    return replace(network, inputs=inputs, layers=layers, outputs=outputs, nodes={})


def worker(part_of: Callable[[int], Part | Row], batches: Batches) -> None:
    """For each line of standard input, a JSON list of case numbers, one line of rows, or an error."""
    for line in sys.stdin:
        numbers = json.loads(line)
        found = {number: part_of(number) for number in numbers}
        rows = {n: row for n, row in found.items() if not isinstance(row, Part)}
        parts = {n: part for n, part in found.items() if isinstance(part, Part)}
        answer: dict[str, Any] = {}
        try:
            if parts:
                rows |= dict(zip(parts, batches.rows(list(parts.values())), strict=True))
            answer = {"rows": [[n, rows[n]] for n in numbers]}
        except (RuntimeError, AssertionError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:600]}
        print(json.dumps(answer), flush=True)


def run(
    command: Sequence[str], cases: Sequence[int], size: int, workers: int, seconds: float,
    limit: float,
) -> Iterator[tuple[int, Row]]:  # fmt: skip
    """Rows by case number, as they come, until all are judged or `seconds` are over.

    A batch that fails, or takes more than `limit` seconds, is halved; a case that fails alone gets
    the row {"state": "failed", "detail": ...}.
    """
    todo: queue.LifoQueue[list[int]] = queue.LifoQueue()
    for start in reversed(range(0, len(cases), size)):
        todo.put(list(cases[start : start + size]))
    done: queue.SimpleQueue[tuple[int, Row] | None] = queue.SimpleQueue()
    end = time.monotonic() + seconds

    def feed() -> None:
        child: subprocess.Popen[str] | None = None
        while time.monotonic() < end:
            try:
                batch = todo.get_nowait()
            except queue.Empty:
                break
            if child is None:
                child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            answer: dict[str, Any] = {}
            judged = set()
            for number, row in _ask(child, batch, min(limit, end - time.monotonic()), answer):
                judged.add(number)
                done.put((number, row))
            batch = [number for number in batch if number not in judged]
            if not batch:
                continue
            if answer.get("dead"):
                child = None
            if time.monotonic() >= end:
                break
            if len(batch) == 1:
                done.put((batch[0], {"state": "failed", "detail": answer["error"]}))
            else:
                half = len(batch) // 2
                todo.put(batch[half:])
                todo.put(batch[:half])
        if child is not None:
            child.kill()
        done.put(None)

    threads = [threading.Thread(target=feed, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    left = workers
    while left:
        found = done.get()
        if found is None:
            left -= 1
        else:
            yield found


def _ask(
    child: subprocess.Popen[str], batch: list[int], limit: float, answer: dict[str, Any]
) -> Iterator[tuple[int, Row]]:
    """Rows as the child writes them, one a line or all in one; why there are no more, in `answer`."""
    assert child.stdin is not None
    assert child.stdout is not None
    timer = threading.Timer(max(limit, 0.1), child.kill)
    timer.start()
    try:
        child.stdin.write(json.dumps(batch) + "\n")
        child.stdin.flush()
        left = len(batch)
        for line in child.stdout:
            if line.startswith(('{"rows"', '{"error"')):
                found = json.loads(line)
                answer.update(found)
                yield from ((number, row) for number, row in found.get("rows", ()))
                left -= len(found.get("rows", ()))
                if "error" in found or not left:
                    return
    except BrokenPipeError:
        pass
    finally:
        timer.cancel()
    answer.update({"error": f"the process ended with {child.wait()}", "dead": True})
