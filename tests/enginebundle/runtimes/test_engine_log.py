"""TensorRT's reasons reach the error message. The real module is used: it needs no GPU to refuse."""

from __future__ import annotations

import threading

import pytest

from enginebundle.runtimes.engine_log import Log, make_logger


def test_errors_are_collected_for_the_thread_that_caused_them() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    log = Log()
    logger = make_logger(trt, log)
    lines = log.collect()
    logger.log(trt.ILogger.Severity.ERROR, "first\n  reason")
    logger.log(trt.ILogger.Severity.INFO, "chatter")
    other = threading.Thread(
        target=logger.log, args=(trt.ILogger.Severity.ERROR, "another thread's")
    )
    other.start()
    other.join()
    log.collect()
    logger.log(trt.ILogger.Severity.ERROR, "too late")
    assert lines == ["first reason"]


def test_a_refused_engine_leaves_its_reason() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    log = Log()
    logger = make_logger(trt, log)
    lines = log.collect()
    runtime = trt.Runtime(logger)
    assert runtime.deserialize_cuda_engine(b"no engine" * 100) is None
    assert lines
