"""What a manifest may say, and the words that a user reads when it says something else."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginebundle.format.spec import AMPERE_PLUS, Range, Target, TensorSpec, Tolerance
from orchestrator.manifest.errors import ManifestError
from orchestrator.manifest.load import load, loads
from orchestrator.manifest.model import Manifest

GOOD = """\
defaults:
  targets: [torch:cpu]
models:
  - name: minilm
    source: {entrypoint: "zoo.text:minilm"}
    inputs:
      ids: {dtype: int64, shape: [b, s]}
    profiles:
      short: {b: [1, 4, 8], s: [8, 32, 64]}
      long: {b: 1, s: {min: 8, opt: 128, max: 256}}
"""


def read(text: str) -> Manifest:
    return loads(textwrap.dedent(text), file="m.yaml", folder=Path("/models"))


def report(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read(text)
    return str(caught.value)


def test_a_small_manifest_and_its_defaults() -> None:
    (model,) = read(GOOD).models
    assert model.inputs == (TensorSpec("ids", "int64", ("b", "s")),)
    assert [profile.name for profile in model.profiles] == ["short", "long"]
    assert model.profiles[1].symbols == {"b": Range(1, 1, 1), "s": Range(8, 128, 256)}
    assert model.targets == (Target("torch", ("cpu",)),)
    assert model.source.search_path == ("/models",)
    assert (model.precision, model.timeout, model.memory) == ("fp32", 1800.0, None)
    assert (model.goldens.seed, model.goldens.cases) == (0, None)
    assert (model.engine_profiles, model.require_full_compilation) == ("separate", False)
    assert model.effort == "default"


def test_every_key_of_a_model() -> None:
    (model,) = read("""
        models:
          - name: all
            version: "2.1"
            source: {program: nets/x.pt2, trusted: true}
            files: [vocab.txt]
            inputs:
              ids: {dtype: int32, shape: [b, "2*s + 1", 4], high: 100}
            profiles: {p: {b: 2, s: [1, 2, 3]}}
            targets: ["rtx:sm_86+sm_80", "trt:sm_90", "trt:sm_90_any", "trt:ampere_plus"]
            precision: bf16
            torch_executed_modules: ["encoder.*"]
            torch_executed_ops: [aten.topk.default]
            require_full_compilation: true
            min_nodes: 1
            goldens: {seed: 7, cases: 2}
            tolerance: {logits: {atol: 1e-3, rtol: 0}}
            timeout: 1h30m
            memory: 1.5GiB
            engine_profiles: shared
            effort: max
            version_compatible: true
            refit: false
        """).models
    assert model.effort == "max"
    assert model.version == "2.1"
    assert model.source.program == "/models/nets/x.pt2"
    assert model.source.trusted
    assert model.files == (Path("/models/vocab.txt"),)
    assert model.targets == (
        Target("rtx", ("sm_80", "sm_86")),
        Target("trt", ("sm_90",)),
        Target("trt", ("sm_90",), "same_compute_capability"),
        Target("trt", AMPERE_PLUS, "ampere_plus"),
    )
    assert model.version_compatible
    assert model.goldens.high == (("ids", 100),)
    assert model.tolerances == (("logits", Tolerance(1e-3, 0.0)),)
    assert (model.timeout, model.memory) == (5400.0, 3 << 29)
    assert not model.refit


def test_a_model_without_symbols_gets_a_profile() -> None:
    (model,) = read("""
        models:
          - name: a
            source: {entrypoint: "zoo:a"}
            inputs: {x: {dtype: float32, shape: [1, 3]}}
            targets: [torch:cpu]
        """).models
    assert [(profile.name, profile.ranges) for profile in model.profiles] == [("default", ())]


def test_defaults_merge_deep_and_choices_are_replaced() -> None:
    manifest = read("""
        defaults:
          source: {entrypoint: "zoo:make", kwargs: {pretrained: false, depth: 2}}
          inputs: {x: {dtype: float32, shape: [b, 4]}}
          profiles: {p: {b: [1, 2, 4]}}
          targets: [torch:cpu, rtx:sm_89]
          goldens: {seed: 3}
          tolerance: {atol: 0.1, rtol: 0.1}
        models:
          - {name: a, source: {kwargs: {depth: 9}}, inputs: {x: {dtype: float16}}}
          - name: b
            source: {program: b.pt2, trusted: true}
            goldens: {file: b.safetensors}
            targets: [torch:cpu]
            tolerance: {y: {atol: 0, rtol: 0}}
        """)
    a, b = manifest.models
    assert a.source.kwargs == (("depth", 9), ("pretrained", False))
    assert a.inputs[0].dtype == "float16"
    assert a.inputs[0].shape == ("b", 4)
    assert (b.source.entrypoint, b.source.kwargs) == (None, ())
    assert (b.goldens.seed, b.goldens.file) == (None, "/models/b.safetensors")
    assert [str(target) for target in b.targets] == ["torch:cpu"]
    assert [name for name, _ in b.tolerances] == ["y"]


def test_words_are_those_of_yaml_1_2() -> None:
    (model,) = read("""
        models:
          - name: on
            source: {entrypoint: "zoo:a", kwargs: {off: no, time: 10:30, none: null, tiny: 1e-3}}
            inputs: {y: {dtype: float32, shape: [n]}}
            profiles: {p: {n: 3}}
            targets: [torch:cpu]
        """).models
    assert model.name == "on"
    assert dict(model.source.kwargs) == {"off": "no", "time": "10:30", "none": None, "tiny": 0.001}


BASE = """
models:
  - name: m
    source: {entrypoint: "zoo:m"}
    inputs: {x: {dtype: float32, shape: [b, s]}}
    profiles: {p: {b: [1, 2, 4], s: [1, 2, 4]}}
    targets: [torch:cpu]
"""

WRONG = {
    "unknown key": (
        ("dtype: float32", "dtpye: float32"),
        "m.yaml:5:18: models[0].inputs.x.dtpye: unknown key; did you mean 'dtype'?",
    ),
    "unknown key of a model": (
        ("targets:", "target:"),
        "m.yaml:7:5: models[0].target: unknown key; did you mean 'targets'?",
    ),
    "missing key": (
        ("    targets: [torch:cpu]\n", ""),
        "m.yaml:3:5: models[0].targets: this required key is missing",
    ),
    "duplicate key": (
        ("targets: [torch:cpu]", "targets: [torch:cpu]\n    name: n"),
        "m.yaml:8:5: models[0].name: this key is already on line 3; keep one of the two",
    ),
    "min > opt": (
        ("b: [1, 2, 4]", "b: [3, 2, 4]"),
        "m.yaml:6:23: models[0].profiles.p.b: range min 3, opt 2, max 4: "
        "expected 0 <= min <= opt <= max",
    ),
    "range of two": (
        ("b: [1, 2, 4]", "b: [2, 4]"),
        "models[0].profiles.p.b: expected [min, opt, max], {min, opt, max} or one number, "
        "got [2, 4]",
    ),
    "symbol in no profile": (
        ("    profiles: {p: {b: [1, 2, 4], s: [1, 2, 4]}}\n", ""),
        "m.yaml:5:42: models[0].inputs.x.shape[0]: the symbols b, s have no range; "
        "add `profiles: {default: {b: [1, 4, 8], s: [1, 4, 8]}}`",
    ),
    "symbol in one profile only": (
        ("s: [1, 2, 4]}}", "s: [1, 2, 4]}, q: {b: 1}}"),
        "m.yaml:6:52: models[0].profiles.q: profile 'q' gives no range for 's', which the input "
        "'x' uses (profile 'p' gives it); add `s: [min, opt, max]`",
    ),
    "symbol never used": (
        ("shape: [b, s]", "shape: [b, 4]"),
        "m.yaml:6:34: models[0].profiles.p.s: profile 'p' gives 's', which no input uses: "
        "they use b; remove it or use it in a shape",
    ),
    "unknown target": (
        ("torch:cpu", "rtx:sm89"),
        "m.yaml:7:15: models[0].targets[0]: unknown target 'rtx:sm89': rtx builds for sm_75, "
        "sm_80, sm_86, sm_89, sm_90, sm_120, sm_121, not 'sm89'; did you mean 'sm_89'?",
    ),
    "unknown backend": (
        ("torch:cpu", "rttx:sm_89"),
        "unknown target 'rttx:sm_89': backends are rtx, torch, trt; did you mean 'rtx:sm_89'?",
    ),
    "trt group": (
        ("torch:cpu", "trt:sm_80+sm_86"),
        "a TensorRT engine runs on the one architecture that built it; "
        "list trt:sm_80, trt:sm_86 instead",
    ),
    "not for rtx": (
        ("torch:cpu", "rtx:ampere_plus"),
        "unknown target 'rtx:ampere_plus': rtx builds for sm_75, sm_80,",
    ),
    "not for any of two": (
        ("torch:cpu", "trt:sm_80+sm_86_any"),
        "target trt:sm_80+sm_86_any: expected one architecture, such as trt:sm_90_any",
    ),
    "any Jetson": (
        ("torch:cpu", "trt:sm_87_any"),
        "TensorRT builds engines for one kind of Jetson only; use trt:sm_87",
    ),
    "version-compatible without trt": (
        ("name: m", "name: m\n    version_compatible: true"),
        "`version_compatible` is about the engines of trt targets, and none is listed; remove it",
    ),
    "target twice": (
        ("[torch:cpu]", "[torch:cpu, torch:cpu]"),
        "m.yaml:7:26: models[0].targets[1]: target torch:cpu is listed twice; keep one",
    ),
    "no targets": (("[torch:cpu]", "[]"), "expected at least one entry, got none"),
    "pt2 without trusted": (
        ('{entrypoint: "zoo:m"}', "{program: m.pt2}"),
        "m.yaml:4:23: models[0].source.program: 'm.pt2' can carry pickled code, which runs when "
        "the file is opened; add `trusted: true` beside it if you trust its author",
    ),
    "both sources": (
        ('{entrypoint: "zoo:m"}', '{entrypoint: "zoo:m", program: m.pt2}'),
        "expected one of `entrypoint` and `program`",
    ),
    "entrypoint without function": (
        ('"zoo:m"', "zoo.m"),
        "models[0].source.entrypoint: expected package.module:function, got 'zoo.m'",
    ),
    "unknown dtype": (
        ("float32", "flaot32"),
        "m.yaml:5:25: models[0].inputs.x.dtype: 'flaot32' is not known; did you mean 'float32'?",
    ),
    "unknown precision": (
        ("name: m", "name: m\n    precision: fp61"),
        "models[0].precision: 'fp61' is not known; did you mean 'fp16'?",
    ),
    "version as a number": (
        ("name: m", "name: m\n    version: 1.10"),
        "models[0].version: expected text, got 1.1; put it in quotes",
    ),
    "a key without a value": (
        ("[torch:cpu]", ""),
        "models[0].targets: expected a list, got nothing",
    ),
    "name that is a path": (("name: m", "name: ../m"), "models[0].name: name '../m': expected"),
    "size of zero": (("[b, s]", "[b, s, 0]"), "expected a size of at least 1 or a symbol, got 0"),
    "bad expression": (("[b, s]", '[b, "s+"]'), "dimension 's+' is not an expression"),
    "negative size": (
        ("[b, s]", '[b, "s - 2"]'),
        "'s - 2' is -1 at the min of profile 'p'; expected 0 or more",
    ),
    "duration": (
        ("name: m", "name: m\n    timeout: 10 min"),
        "or a duration such as 90s, 10m, 1h30m",
    ),
    "size": (("name: m", "name: m\n    memory: 8G"), "or a size such as 512MiB, 8GiB, got '8G'"),
    "tolerance": (
        ("name: m", "name: m\n    tolerance: {atol: 1e-3}"),
        "models[0].tolerance: expected {atol, rtol}, got {'atol': 0.001}",
    ),
    "high of a float": (
        ("shape: [b, s]", "shape: [b, s], high: 3"),
        "`high` limits integers drawn from a seed, but this input is float32; remove it",
    ),
    "goldens of two kinds": (
        ("name: m", "name: m\n    goldens: {file: x.parquet, seed: 1}"),
        "models[0].goldens: expected one of `entrypoint`, `file` and `seed`",
    ),
    "goldens file": (
        ("name: m", "name: m\n    goldens: {file: x.npz}"),
        "'x.npz': expected a file ending in .safetensors or .parquet",
    ),
    "refit of a version-compatible engine": (
        (
            "targets: [torch:cpu]",
            "targets: [trt:sm_90]\n    refit: true\n    version_compatible: true",
        ),
        "models[0].refit: `refit` and `version_compatible` exclude each other",
    ),
    "refit without trt": (
        ("name: m", "name: m\n    refit: true"),
        "models[0].refit: `refit` is for trt targets, and this model has none: TensorRT-RTX builds",
    ),
    "operator without overload": (
        ("name: m", "name: m\n    torch_executed_ops: [softmax]"),
        "operator 'softmax': expected an overload such as aten.softmax.int",
    ),
    "tag": (
        ('"zoo:m"', "!!python/name:os.system x"),
        "is not supported; expected text, a finite number, true or false",
    ),
    "nan": (("[1, 2, 4]", ".nan"), ".nan is not supported"),
    "key that is no text": (("b: [1, 2, 4]", "1: [1, 2, 4]"), "a key must be text, got 1"),
    "merge key": (
        ("name: m", "name: m\n    <<: {precision: fp16}"),
        "YAML merge keys are not supported; put shared settings under `defaults:`",
    ),
    "not YAML": (("models:", "models: ["), "not YAML: "),
    "tab": (("    source", "\tsource"), "not YAML: "),
    "top level": (("models:", "model:"), "m.yaml:2:1: model: unknown key; did you mean 'models'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_message(case: str) -> None:
    (old, new), message = WRONG[case]
    assert old in BASE
    assert message in report(BASE.replace(old, new, 1))


def test_all_mistakes_are_shown_at_once_in_order() -> None:
    text = report("""\
        defaults: {precison: fp16}
        models:
          - {name: a, targets: [cpu]}
          - {name: a, targets: [torch:cpu], timeout: 0}
        """)
    assert text.splitlines()[0] == "manifest m.yaml has 8 errors:"
    assert "m.yaml:1:12: defaults.precison: unknown key; did you mean 'precision'?" in text
    assert "models[0].targets[0]: unknown target 'cpu'" in text
    assert "m.yaml:4:12: models[1].name: two models are named 'a'; the first is on line 3" in text
    assert "models[1].timeout: expected seconds above 0" in text
    assert text.count("precison") == 1
    lines = [int(line.split(":")[1]) for line in text.splitlines()[1:]]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- a", "expected a map with `models:`"),
        ("models: []", "at least one model"),
        ("models: {}", "at least one model"),
        ("models: [3]", "models[0]: expected a map, got 3"),
        ("defaults: 3\nmodels: [{name: a}]", "m.yaml:1:11: defaults: expected a map, got 3"),
        ("defaults: {name: a}\nmodels: [{}]", "each model has its own name"),
        ("models: &a [*a]", "an alias inside the value that it refers to"),
        ("models: " + "[" * 5000, "nested too deep"),
        ("a: b: c", "not YAML"),
        ("x: \x00", "not YAML"),
    ],
)
def test_documents_that_are_no_manifest(text: str, message: str) -> None:
    assert message in report(text)


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases expand to more than" in report("\n".join(lines))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"can't be read: .*No such file"):
        load(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="expected a YAML file in UTF-8"):
        load(binary)


def test_relative_paths_start_at_the_manifest(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(GOOD)
    assert load(file).models[0].source.search_path == (str(tmp_path),)


def test_the_digest_ignores_layout_and_order() -> None:
    two = yaml.safe_load(GOOD)
    two["models"].append(two["models"][0] | {"name": "other"})
    one_way = read(yaml.safe_dump(two))
    two["models"].reverse()
    assert read(yaml.safe_dump(two, default_flow_style=True)).digest == one_way.digest
    assert read(GOOD).digest != one_way.digest


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_keys = st.sampled_from(
    ["name", "source", "inputs", "profiles", "targets", "goldens", "tolerance", "timeout", "x"]
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_keys, _values), st.dictionaries(_keys, _values))
def test_anything_else_is_a_report_and_never_a_crash(model: object, defaults: object) -> None:
    text = yaml.safe_dump({"defaults": defaults, "models": [model]}, allow_unicode=True)
    with pytest.raises(ManifestError, match=r"has \d+ errors?:"):
        read(text)
