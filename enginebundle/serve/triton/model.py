"""What Triton's Python backend runs: a session of a bundle, which is verified as anywhere.

An exported model's `model.py` derives from `Model` here. Requests of one batch whose other sizes are equal are
answered by one call, if some profile contains all their rows together, and else one by one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebundle.errors import BundleError, InputError
from enginebundle.format.spec import TensorSpec
from enginebundle.serve.loader import load

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

SOURCE = '''"""Written by `kiln export`: runs the bundle beside this file. Needs enginebundle in Triton's Python."""

from pathlib import Path

from enginebundle.serve.triton.model import Model


class TritonPythonModel(Model):
    folder = Path(__file__).parent / "bundle"
'''
"""An exported `model.py`."""


class Model:
    """Triton calls these methods by their names."""

    folder: Path

    def initialize(self, args: dict[str, str]) -> None:
        """Load, and replay the goldens. Raises what these raise: Triton shows it and serves nothing."""
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        if args["model_instance_kind"] == "GPU":
            import torch

            torch.cuda.set_device(int(args["model_instance_device_id"]))
        target = config["parameters"]["target"]["string_value"]
        self._session = load(self.folder, target=target).warm_up()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """An answer, or an error, for each request."""
        import triton_python_backend_utils as utils

        answers: list[Any] = [None] * len(requests)
        groups: dict[Any, list[tuple[int, Tensors]]] = {}
        for place, request in enumerate(requests):
            given = {s.name: self._taken(utils, request, s) for s in self._session.inputs}
            sizes = tuple(tensor.shape[1:] for tensor in given.values())
            groups.setdefault(sizes if self._batched else place, []).append((place, given))
        for group in groups.values():
            for place, outputs in self._answered(group):
                answers[place] = (
                    utils.InferenceResponse(error=utils.TritonError(str(outputs)))
                    if isinstance(outputs, BundleError)
                    else utils.InferenceResponse(
                        [self._given(utils, *one) for one in outputs.items()]
                    )
                )
        return answers

    def finalize(self) -> None:
        """Triton lets go of the model."""
        self._session.close()

    def _answered(self, group: list[tuple[int, Tensors]]) -> list[tuple[int, Any]]:
        import torch

        if len(group) > 1:
            try:
                names = group[0][1]
                merged = {name: torch.cat([given[name] for _, given in group]) for name in names}
                outputs = self._session(**merged)
            except InputError:  # together they are too many
                return [one for single in group for one in self._answered([single])]
            rows = [len(next(iter(given.values()))) for _, given in group]
            parts = {name: torch.split(tensor, rows) for name, tensor in outputs.items()}
            return [
                (place, {name: parts[name][n] for name in parts})
                for n, (place, _) in enumerate(group)
            ]
        ((place, given),) = group
        try:
            return [(place, self._session(**given))]
        except BundleError as error:
            return [(place, error)]

    def _taken(self, utils: Any, request: Any, spec: TensorSpec) -> torch.Tensor:
        """An input as the bundle has it."""
        import torch

        given = utils.get_input_tensor_by_name(request, spec.name)
        tensor = torch.utils.dlpack.from_dlpack(given.to_dlpack())
        if spec.dtype == "bool":  # which some versions of Triton hand over as bytes
            tensor = tensor.view(torch.bool)
        return tensor.squeeze(-1) if len(spec.shape) == self._batched else tensor

    def _given(self, utils: Any, name: str, tensor: torch.Tensor) -> Any:
        """An output as Triton wants it, ready."""
        import torch

        spec = next(spec for spec in self._session.outputs if spec.name == name)
        tensor = tensor.unsqueeze(-1) if len(spec.shape) == self._batched else tensor
        tensor = tensor.contiguous()
        if tensor.is_cuda:
            torch.cuda.current_stream(tensor.device).synchronize()
        # Not through NumPy, of which Triton's versions want one or the other; only bool goes no other way.
        if spec.dtype == "bool":
            return utils.Tensor(name, tensor.cpu().numpy())
        return utils.Tensor.from_dlpack(name, tensor.__dlpack__())
