"""A call in another thread, on the caller's CUDA stream, for services that must not block their event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Outputs = dict[str, torch.Tensor]


async def in_thread(call: Callable[[], Outputs]) -> Outputs:
    """The call's outputs, which are there when this returns. Raises what the call raises."""
    import torch

    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    stream = torch.cuda.current_stream() if used else None

    def work() -> Outputs:
        with torch.cuda.stream(stream):
            outputs = call()
            if any(tensor.is_cuda for tensor in outputs.values()):
                torch.cuda.current_stream().synchronize()
        return outputs

    return await asyncio.to_thread(work)
