"""The files in clusters/ are what Ray and KubeRay say they may be, and agree on pools."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CLUSTERS = ROOT / "clusters"
DEFINITIONS = ROOT.parent / "shared" / "schemas" / "kuberay"
RAY_UP = ["local.yaml", "aws.yaml", "gcp.yaml"]
KUBERAY = ["raycluster.yaml", "rayjob.yaml"]


def read(*parts):
    return yaml.safe_load(CLUSTERS.joinpath(*parts).read_text())


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_accepts_it(name):
    from ray._private.label_utils import validate_node_label_syntax
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    config = read(name)
    validate_config(fillout_defaults(config))
    for node in config.get("available_node_types", {}).values():
        validate_node_label_syntax(node.get("labels", {}))


def test_ray_up_refuses_a_typo():
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    config = read("aws.yaml")
    config["max_worker"] = config.pop("max_workers")
    with pytest.raises(Exception, match="max_worker"):
        validate_config(fillout_defaults(config))


def strict(schema):
    """A Kubernetes schema as JSON Schema that refuses what Kubernetes would drop silently."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict)
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return result


@functools.cache
def definition(kind):
    path = DEFINITIONS / f"ray.io_{kind.lower()}s.yaml"
    if not path.exists():
        pytest.skip(f"KubeRay's definition of {kind} is absent: no {path}")
    document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    version = next(v for v in document["spec"]["versions"] if v["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_accepts_it(name):
    document = read("kuberay", name)
    jsonschema.Draft202012Validator(definition(document["kind"])).validate(document)


def test_kuberay_refuses_a_typo():
    document = read("kuberay", "raycluster.yaml")
    document["spec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.Draft202012Validator(definition("RayCluster")).validate(document)


def groups(document):
    spec = document["spec"]
    return spec.get("rayClusterSpec", spec)["workerGroupSpecs"]


@pytest.mark.parametrize("name", KUBERAY)
def test_rules_that_only_the_operator_knows(name):
    document = read("kuberay", name)
    cluster = document["spec"].get("rayClusterSpec", document["spec"])
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for group in pods:
        assert group["template"]["spec"]["restartPolicy"] == "Never"
        assert "labels" not in group["rayStartParams"]
    for group in cluster["workerGroupSpecs"]:
        assert re.fullmatch(r"[a-z0-9-]+", group["groupName"])
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == ("labels" in group)
    if document["kind"] == "RayJob":
        assert document["spec"]["shutdownAfterJobFinishes"]
        assert "clusterSelector" not in document["spec"]


def test_the_pool_table_names_what_the_files_have():
    text = (CLUSTERS / "README.md").read_text()
    rows = [
        line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `sm_")
    ]
    table = {cells[0].strip("`"): [cell.strip("` ") for cell in cells[3:]] for cells in rows}
    kuberay = {
        g["labels"]["farm/sm"]: g["groupName"]
        for g in groups(read("kuberay", "raycluster.yaml"))
        if "labels" in g
    }
    assert {sm: cells[0] for sm, cells in table.items()} == kuberay
    for column, name, key in ((1, "aws.yaml", "InstanceType"), (2, "gcp.yaml", "machineType")):
        nodes = read(name)["available_node_types"].values()
        have = {n["labels"]["farm/sm"]: n["node_config"][key] for n in nodes if "labels" in n}
        assert {sm: cells[column] for sm, cells in table.items() if cells[column] != "-"} == have
