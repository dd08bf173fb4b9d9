"""The commands as a user meets them: what they print, where, and their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator import cli
from orchestrator.report import record

BUILDERS = Path(__file__).parents[1] / "builders"
ROOT = Path(__file__).resolve().parents[3]
GOOD = 'name: good, source: {entrypoint: "tiny_models:tiny"}'
CHOOSY = 'name: choosy, source: {entrypoint: "tiny_models:choosy"}'


def manifest(folder, *models):
    """A manifest of these models in a folder that also holds their code."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(BUILDERS / "tiny_models.py", folder)
    text = "\n".join(
        [
            "defaults:",
            "  inputs: {x: {dtype: float32, shape: [b, 4]}}",
            "  profiles: {any: {b: [1, 4, 8]}}",
            '  targets: ["torch:cpu"]',
            "  goldens: {seed: 1, cases: 2}",
            "models:",
            *(f"  - {{{model}}}" for model in models),
        ]
    )
    (folder / "manifest.yaml").write_text(text + "\n")
    return str(folder / "manifest.yaml")


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINEBUNDLE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def kiln(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    def run(*arguments):
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as left:  # argparse's way out
            code = left.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """(manifest, store, first run's exit code, its JSON): one model that builds, one that can't."""
    folder = tmp_path_factory.mktemp("farm")
    path, store = manifest(folder, GOOD, CHOOSY), folder / "store"
    command = ["run", path, "--store", str(store), "--executor", "local", "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return path, store, done.returncode, json.loads(done.stdout), done.stderr


def test_a_run_publishes_what_it_can_and_tells_the_rest(farm):
    path, store, code, results, talk = farm
    assert code == results["exit_code"] == 1
    assert results["totals"] == "1 built, 1 validated, 0 pending, 1 failed"
    failed = results["tasks"]["choosy/trace"]
    assert failed["kind"] == "failed"
    assert "tiny_models.py" in failed["message"], "the line of the model's code"
    assert failed["reproduce"] == f"kiln run {path} --store {store} --only choosy/trace"
    assert results["tasks"]["choosy/publish"]["because"] == "choosy/trace failed"
    assert Store.open(store).aliases("good") == {"latest": 1}
    assert "good/trace: started" in talk
    assert "good/build/torch:cpu: built in" in talk
    assert "choosy/trace: FAILED (" in talk


def test_a_second_run_finds_everything(farm, kiln):
    path, store, *_ = farm
    code, out, err = kiln(
        "run", path, "--store", store, "--executor", "local", "--only", "good/promote"
    )
    assert code == 0
    assert "good   torch:cpu  validated (cached)" in out
    assert "1 built, 1 validated, 0 pending, 0 failed" in out
    assert "5 tasks: every task cached" in out, err
    assert "started" not in err


def test_status_tells_the_latest_run_or_the_one_named(farm, kiln):
    _, store, _, results, _ = farm
    code, out, _ = kiln("status", results["run"], "--store", store)
    assert code == 0
    assert f"run {results['run']} ended" in out
    assert "exit code 1" in out
    code, out, _ = kiln("status", "--store", store, "-o", "json")
    assert json.loads(out)["results"]["store"] == str(store)
    code, _, err = kiln("status", "yesterday", "--store", store)
    assert code == 2
    assert "no run 'yesterday'" in err


def test_status_of_a_run_that_was_killed(farm, kiln, tmp_path):
    whole = Store.open(farm[1])
    run = farm[3]["run"]
    store = Store.open(tmp_path / "store", create=True)
    for name in ("plan.json", "events.jsonl"):
        store.put_file(f"runs/{run}/{name}", whole.get_file(f"runs/{run}/{name}"))
    code, out, _ = kiln("status", "--store", store.uri)
    assert code == 0
    assert "has not ended (or was killed)" in out
    assert "choosy/trace" in out
    assert record.results(store, run) is None


def test_list_and_inspect(farm, kiln):
    store = farm[1]
    code, out, _ = kiln("list", "--store", store)
    assert code == 0
    row = out.splitlines()[1].split()
    assert row[:4] == ["good@1", "latest", "torch:cpu", "validated"]
    assert row[-1] == "drawn"
    code, out, _ = kiln("inspect", "good", "--store", store)
    shown = json.loads(out)
    assert shown["index"]["name"] == "good"
    assert shown["variants"] == {"torch:cpu": "validated"}
    assert shown["evidence"][0]["passed"] is True
    code, _, err = kiln("inspect", "bad@9", "--store", store)
    assert code == 2
    assert "no bundle 'bad'; it has: good" in err


def test_validate_proves_again_and_knows_its_variants(farm, kiln):
    store = farm[1]
    code, out, _ = kiln("validate", "good@1", "--target", "torch:cpu", "--store", store)
    assert code == 0
    assert out.startswith("good@1 on torch:cpu: validated, worst error ")
    code, _, err = kiln("validate", "good", "--target", "rtx:sm_89", "--store", store)
    assert code == 2
    assert "no variant 'rtx:sm_89'" in err
    assert "torch:cpu" in err


def test_reproduce_is_for_tensorrt_and_says_why_it_can_t(farm, kiln, tmp_path):
    store = farm[1]
    code, _, err = kiln("reproduce", "good", "--target", "torch:cpu", "--store", store)
    assert code == 2
    assert "only TensorRT chooses tactics by timing them" in err
    code, _, err = kiln("reproduce", "good", "--target", "trt:sm_90", "--store", store)
    assert code == 2
    assert "no variant 'trt:sm_90'" in err
    # the same runs as if their build had been for TensorRT
    other = tmp_path / "store"
    shutil.copytree(store, other)
    for name in ("plan.json", "results.json"):
        for path in other.glob(f"runs/*/{name}"):
            path.write_text(path.read_text().replace("torch:cpu", "trt:sm_30"))
    code, out, err = kiln(
        "reproduce", "good", "--target", "trt:sm_30", "--store", other, "-o", "json"
    )
    assert code == 1, err
    (told,) = json.loads(out)["builds"].values()
    assert told.startswith(("FAILED (not_installed) tensorrt", "FAILED (no_gpu) trt:sm_30"))


def test_explain_names_the_field_that_changed(farm, kiln, tmp_path):
    store = farm[1]
    wider = 'name: good, source: {entrypoint: "tiny_models:tiny", kwargs: {width: 12}}'
    path = manifest(tmp_path, wider)
    code, *_ = kiln("run", path, "--store", store, "--executor", "local")
    assert code == 0
    code, out, _ = kiln("explain", "good@1", "good@2", "--store", store)
    assert code == 0
    assert out.splitlines() == [
        "trace: differs",
        "  spec.source.kwargs.width: (absent) -> 12",
        "3 follow: build/torch:cpu, publish, validate/torch:cpu",
    ]
    code, out, _ = kiln("explain", "good@1", "good@1", "--store", store)
    assert "differs" not in out
    code, _, err = kiln("explain", "good@1", "good@9", "--store", store)
    assert code == 2
    assert "good@9" in err


def test_plan_says_what_is_there_and_touches_nothing(farm, kiln, tmp_path):
    path, store, *_ = farm
    code, out, _ = kiln("plan", path, "--store", store, "-o", "json")
    assert code == 0
    status = {task["id"]: task["status"] for task in json.loads(out)["tasks"]}
    assert status["good/build/torch:cpu"] == "cached"
    assert status["choosy/trace"] == "failed", "it would fail again"
    code, out, _ = kiln("plan", path, "--store", tmp_path / "absent")
    assert code == 0
    assert "build" in out
    assert not (tmp_path / "absent").exists()


def test_validate_manifest_and_schema(farm, kiln):
    code, out, _ = kiln("validate-manifest", farm[0])
    assert (code, out.splitlines()[0]) == (0, "good: torch:cpu; profiles any")
    code, out, _ = kiln("schema")
    assert code == 0
    assert json.loads(out)["title"] == "kiln manifest"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nam: x", "unknown key"),
        (GOOD + ", profiles: {any: {b: [4, 2, 8]}}", "min 4, opt 2"),
        ('name: lost, source: {entrypoint: "no_such_module:f"}', "no_such_module"),
    ],
)
def test_a_wrong_manifest_stops_everything(model, message, kiln, tmp_path):
    path = manifest(tmp_path, model)
    for command in ("validate-manifest", "plan", "run"):
        more = [] if command == "validate-manifest" else ["--store", tmp_path / "store"]
        code, out, err = kiln(command, path, *more)
        assert code == 2, command
        assert message in err
        assert out == ""
        assert not (tmp_path / "store").exists(), "nothing half-written"


def test_a_store_that_can_t_be_used_is_said_before_any_work(farm, kiln, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code, out, err = kiln("run", farm[0], "--store", blocked / "store", "--executor", "local")
    assert (code, out) == (2, "")
    assert f"store {blocked / 'store'} can't be used" in err
    assert "started" not in err
    code, _, err = kiln("list", "--store", tmp_path / "absent")
    assert code == 2
    assert "no store at" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["bake"], "invalid choice: 'bake'"),
        (["run"], "required: manifest"),
        (["run", "m.yaml", "--jobs", "0"], "expected a number of at least 1, got 0"),
    ],
)
def test_wrong_usage(arguments, message, kiln):
    code, _, err = kiln(*arguments)
    assert code == 2
    assert message in err


def test_a_task_that_is_not_there_is_offered_its_neighbour(farm, kiln):
    code, _, err = kiln(
        "run", farm[0], "--store", farm[1], "--executor", "local", "--only", "good/trase"
    )
    assert code == 2
    assert "did you mean 'good/trace'?" in err


def test_a_cluster_needs_ray(farm, kiln):
    code, _, err = kiln(
        "run", farm[0], "--store", farm[1], "--executor", "local", "--address", "auto"
    )
    assert code == 2
    assert "--executor must be ray" in err


def test_only_a_cluster_is_elastic(farm, kiln):
    """An embedded Ray would wait for a machine that never comes, without a word."""
    code, _, err = kiln("run", farm[0], "--store", farm[1], "--elastic")
    assert code == 2
    assert "name the cluster with --address" in err


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from orchestrator import cli; cli.parser().format_help(); "
        "heavy = {'torch', 'ray', 'pydantic', 'rich', 'yaml', 'numpy', 'cryptography'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout == "[]\n"
