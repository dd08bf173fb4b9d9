"""A cache of built engines, by all that determines them. The farm and `torch.compile` share it.

An engine's key covers the network itself (every layer, attribute, name and constant), so it does
not matter what produced it: two models with an equal piece share one engine, as do a manifest and a
`torch.compile` call, and a user's own converters need nothing further.

The key of an engine that is refitted leaves out what it gets when it is opened: that engine is
shared by all models that differ in their weights only.

The key includes the network; each input's sizes at min, opt and max of each profile; the capabilities
named to the builder; TF32; TensorRT's effort; on which GPUs and with which versions it opens; the TensorRT
module, its version and its distributions (there is one for each CUDA version); the code that emits and
builds. The version and the code decide which layers stand for those that the version lacks.
It leaves out symbols' and profiles' names, which no engine holds; Python, torch and the operating
system, which shape the network and nothing after it; the building machine, as in every key.
"""

from __future__ import annotations

import functools
import platform
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compiler.build.extents import extents
from compiler.convert.registry import Refusal
from compiler.network.network import Layer, Network, Tensor
from compiler.program import tensor_bytes
from enginebundle.errors import IntegrityError, NotFoundError
from enginebundle.format.digest import Digest, digest_bytes, digest_file, digest_json
from enginebundle.format.graph import Graph
from enginebundle.runtimes.versions import distributions_of

if TYPE_CHECKING:
    from compiler.build.builder import EngineOptions
    from enginebundle.storage.store import Store

FORMAT = 1
"""The version of what an identity means: raising it rebuilds every engine."""

_CODE = (
    "build/aids.py",
    "build/builder.py",
    "build/compatibility.py",
    "build/effort.py",
    "build/extents.py",
    "build/options.py",
    "build/tensorrt.py",
    "build/tensorrt_rtx.py",
    "convert/plugin.py",
    "network",
)
"""What turns a network into bytes, relative to the package `compiler`."""


@dataclass(frozen=True)
class EngineCache:
    """Engines in a store: each key's result names a blob. The first engine written is kept."""

    store: Store

    def engine(
        self,
        identity: Mapping[str, Any],
        build: Callable[[], bytes | memoryview],
        notes: Mapping[str, Any] | None = None,
        again: Callable[[Mapping[str, Any]], bytes | memoryview] | None = None,
    ) -> bytes | memoryview:
        """The engine with that identity: from the store, else built and stored.

        What `notes` holds once `build` has returned is kept beside the result, in its provenance. An
        engine that the store had and lost is built by `again`, if given, from these notes.
        Raises what `build` raises, and StoreError where the store can't be used.
        """
        key = digest_json(dict(identity))
        record = self.store.result(key)
        if record is not None:
            try:
                return self.store.read_blob(record["output"]["engine"])
            except (NotFoundError, IntegrityError):
                pass  # the blob was lost or damaged: an equal engine is built below to replace it
        left = {} if record is None else record.get("provenance", {}).get("build", {})
        engine = again(left) if left and again is not None else build()
        own = {"engine": self.store.put_blob(engine), "bytes": len(engine)}
        new = _record(key, identity, own, notes or {})
        if record is not None:
            self.store.replace_result(key, new)  # the old one names an engine that is gone
            return engine
        won = self.store.put_result(key, new)
        if won["output"] == own:
            return engine
        return self.store.read_blob(won["output"]["engine"])

    def blame(self, identity: Mapping[str, Any]) -> dict[str, Refusal]:
        """The nodes without which that engine's segment was found to build, with the reason; or none."""
        record = self.store.result(digest_json(_blame(identity)))
        nodes = {} if record is None else record["output"]["nodes"]
        return {name: Refusal(**reason) for name, reason in nodes.items()}

    def keep_blame(self, identity: Mapping[str, Any], nodes: Mapping[str, Refusal]) -> None:
        """Remember for the next build of an engine with that identity which nodes have to leave."""
        own = _blame(identity)
        key = digest_json(own)
        told = {name: asdict(reason) for name, reason in nodes.items()}
        self.store.put_result(key, _record(key, own, {"nodes": told}, {}))


def _blame(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": "blame", "engine": digest_json(dict(identity))}


def identity(
    trt: Any,
    network: Network,
    graph: Graph,
    options: EngineOptions,
    archs: tuple[str, ...],
    digests: Mapping[int, Digest],
    bound: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that can change an engine's bytes, as JSON.

    `graph` gives the inputs' sizes over the profiles' symbols; `digests` maps a tensor's id
    to the digest of its bytes, so that weights are not hashed again; `bound` are the constants that
    the engine gets when it is opened (`Bindings.names`).
    """
    return {
        "format": FORMAT,
        "step": "engine",
        "network": network_digest(network, digests, bound or {}),
        "profiles": [
            {spec.name: [list(shape) for shape in extents(spec, p)] for spec in graph.inputs}
            for p in options.profiles
        ],
        "architectures": list(archs),
        "tf32": options.tf32,
        "effort": options.effort,
        "hardware": options.hardware,
        "version_compatible": options.version_compatible,
        "refit": options.refit,
        "toolchain": {
            trt.__name__: str(trt.__version__),
            "distributions": dict(distributions_of(trt.__name__)),
            "machine": platform.machine(),
            "code": _code(),
        },
    }


def network_digest(
    network: Network, digests: Mapping[int, Digest], bound: Mapping[str, str]
) -> Digest:
    """Identity of a network: inputs, layers in order and outputs, constants by content.

    A constant that is `bound` counts by the name that it has in the engine, its dtype and its shape.
    """

    def tensor(value: Tensor | None) -> Any:
        if value is None:
            return None
        described = [str(value.dtype), list(value.shape)]
        if value.constant is None:
            return [value.name, *described]
        if value.name in bound:
            return [{"bound": bound[value.name]}, *described]
        known = digests.get(id(value.constant))
        return [known or digest_bytes(tensor_bytes(value.constant)), *described]

    def layer(value: Layer) -> Any:
        attributes = {name: _spell(item, bound) for name, item in value.attributes.items()}
        inputs = [tensor(item) for item in value.inputs]
        return [value.kind, value.node, attributes, inputs, [tensor(t) for t in value.outputs]]

    return digest_json(
        {
            "inputs": [tensor(item) for item in network.inputs],
            "layers": [layer(item) for item in network.layers],
            "outputs": [[name, tensor(item)] for name, item in network.outputs],
        }
    )


def _spell(value: Any, bound: Mapping[str, str]) -> Any:
    """A layer's attribute as JSON that tells 1 from 1.0 and from true. TypeError for other types."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return ["float", value.hex()]
        case torch.dtype():
            return ["dtype", str(value)]
        case tuple() | list():
            return [_spell(item, bound) for item in value]
        case Mapping():
            return {str(name): _spell(item, bound) for name, item in value.items()}
        case Network():
            return ["network", network_digest(value, {}, bound)]
        case torch.Tensor():
            return [str(value.dtype), list(value.shape), digest_bytes(tensor_bytes(value))]
    raise TypeError(
        f"attribute {value!r}: a {type(value).__name__} can't be part of an engine's key"
    )


@functools.cache
def _code() -> Digest:
    return code_digest(Path(__file__).parents[1])


def code_digest(here: Path) -> Digest:
    """The digest of the code that turns networks into bytes, in the package `compiler` in that folder."""
    files = [
        file for name in _CODE for file in sorted((here / name).rglob("*.py")) or [here / name]
    ]
    return digest_json({file.relative_to(here).as_posix(): digest_file(file) for file in files})


def _record(
    key: Digest, identity: Mapping[str, Any], output: Mapping[str, Any], notes: Mapping[str, Any]
) -> dict[str, Any]:
    date = datetime.now(UTC).isoformat(timespec="milliseconds")
    provenance: dict[str, Any] = {"host": socket.gethostname(), "date": date}
    if notes:
        provenance["build"] = dict(notes)
    return {
        "key": key,
        "identity": dict(identity),
        "output": dict(output),
        "provenance": provenance,
    }
