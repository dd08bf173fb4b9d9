"""What the report says about nodes that stay in torch."""

from __future__ import annotations

import json
import pickle

from compiler.convert.registry import Refusal
from compiler.partition import Kept, PartitionRefused, PartitionReport, partition
from compiler.partition.report import SegmentSummary
from enginebundle.format.graph import Graph, Node, Origin, Ref, Value
from enginebundle.format.spec import TensorSpec


def _graph(reads: dict[str, str]) -> Graph:
    nodes = tuple(
        Node(
            f"aten.{name.rstrip('0123456789')}.default",
            (Ref(source),),
            (),
            (Value(name, "float32", (4,)),),
            Origin("/m/net.py", 10 + i, f"{name} = call({source})", f"body.{i}", "Block"),
        )
        for i, (name, source) in enumerate(reads.items())
    )
    last = nodes[-1].name
    spec = TensorSpec("x", "float32", (4,))
    return Graph((spec,), (), nodes, (TensorSpec("out", "float32", (4,)),), (last,))


GRAPH = _graph({"relu": "x", "fft1": "relu", "fft2": "fft1", "fft3": "fft2", "fft4": "fft3",
                "sort": "fft4", "gelu": "sort"})  # fmt: skip


def _refuse(node: Node) -> Refusal | None:
    if "fft" in node.op:
        return Refusal(
            "dtype", f"expected float32, got complex64 ({node.name})", "use real numbers"
        )
    return Refusal("argument", "sorts over 3840 values") if "sort" in node.op else None


REPORT = partition(GRAPH, _refuse).report


def test_totals_and_segments():
    assert (REPORT.engine_nodes, REPORT.torch_nodes) == (2, 5)
    assert REPORT.segments[1] == SegmentSummary("torch_graph", 5, ("relu",), ("sort",))


def test_one_entry_for_each_node_with_its_place():
    fft2 = REPORT.kept[1]
    assert (fft2.node, fft2.op, fft2.compute) == ("fft2", "aten.fft.default", True)
    assert (fft2.origin.file, fft2.origin.line, fft2.origin.module) == ("/m/net.py", 12, "body.2")
    assert fft2.reason.detail == "expected float32, got complex64 (fft2)"


def test_same_reasons_are_one_group_whatever_the_names_of_values():
    groups = REPORT.groups
    assert [(g.op, g.reason.code, len(g.kept)) for g in groups] == [
        ("aten.fft.default", "dtype", 4),
        ("aten.sort.default", "argument", 1),
    ]
    assert groups[0].reason.detail == "expected float32, got complex64"


def test_text():
    assert REPORT.text() == (
        "2 engine segments with 2 of 7 nodes, 1 torch segment with 5\n"
        "\n"
        "nodes  operator           reason    detail\n"
        "4      aten.fft.default   dtype     expected float32, got complex64\n"
        "1      aten.sort.default  argument  sorts over 3840 values\n"
        "\n"
        "aten.fft.default: dtype\n"
        "  at fft1: /m/net.py:11 (module body.1: Block): fft1 = call(relu)\n"
        "  at fft2: /m/net.py:12 (module body.2: Block): fft2 = call(fft1)\n"
        "  at fft3: /m/net.py:13 (module body.3: Block): fft3 = call(fft2)\n"
        "  and 1 more\n"
        "  remedy: use real numbers\n"
        "\n"
        "aten.sort.default: argument\n"
        "  at sort: /m/net.py:15 (module body.5: Block): sort = call(fft4)"
    )


def test_text_of_a_whole_engine_is_one_line():
    report = partition(GRAPH, lambda node: None).report
    assert report.text() == "1 engine segment with 7 of 7 nodes, 0 torch segments with 0"
    assert (
        PartitionReport((), ()).text()
        == "0 engine segments with 0 of 0 nodes, 0 torch segments with 0"
    )


def test_json_holds_everything():
    document = json.loads(json.dumps(REPORT.to_json()))
    assert document["engine_nodes"] == 2
    assert document["segments"][1] == {
        "kind": "torch_graph", "nodes": 5, "inputs": ["relu"], "outputs": ["sort"]
    }  # fmt: skip
    assert document["reasons"][0] == {
        "op": "aten.fft.default",
        "code": "dtype",
        "detail": "expected float32, got complex64",
        "remedy": "use real numbers",
        "count": 4,
    }
    assert document["kept"][4] == {
        "node": "sort",
        "op": "aten.sort.default",
        "compute": True,
        "file": "/m/net.py",
        "line": 15,
        "source": "sort = call(fft4)",
        "module": "body.5",
        "module_class": "Block",
        "code": "argument",
        "detail": "sorts over 3840 values",
        "remedy": "",
    }


def test_a_name_inside_other_text_is_not_a_place():
    reason = Refusal("argument", "dim must be in (0, 1), got 2 (x_1)", "")
    assert Kept("x_1", "aten.a", True, Origin(), reason).common.detail == (
        "dim must be in (0, 1), got 2"
    )


def test_a_refusal_survives_a_process_border():
    error = PartitionRefused("code", "message", "remedy")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message, copy.remedy) == ("code", "message", "remedy")
