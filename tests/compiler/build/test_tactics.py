"""The engine inspector's words as a map from layer to tactic."""

from __future__ import annotations

import json

from compiler.build.tactics import changes, read

LAYERS = [
    {"Name": "conv#1 + relu#2", "LayerType": "CaskConvolution", "TacticValue": "0x9cb3",
     "TacticName": "sm90_xmma_fprop", "Inputs": []},
    {"Name": "{ForeignNode[a...b]}", "LayerType": "Myelin"},
    {"Name": "copy", "LayerType": "Reformat", "TacticValue": "0x0"},
    {"Name": "copy", "LayerType": "Reformat", "TacticValue": "0x3"},
    "a name only",
]  # fmt: skip


def test_each_layer_has_its_kind_and_its_tactic() -> None:
    assert read(json.dumps({"Layers": LAYERS, "Bindings": ["x"]})) == {
        "conv#1 + relu#2": "CaskConvolution 0x9cb3 sm90_xmma_fprop",
        "{ForeignNode[a...b]}": "Myelin",
        "copy": "Reformat 0x0",
        "copy (2)": "Reformat 0x3",
        "a name only": "",
    }


def test_a_change_names_the_layer_and_both_tactics() -> None:
    proved = {"a": "1", "b": "2", "c": "3"}
    assert changes(proved, dict(proved)) == ()
    assert changes(proved, {"a": "1", "b": "9", "d": "4"}) == (
        "b: 2 -> 9",
        "c: 3 -> absent",
        "d: absent -> 4",
    )
