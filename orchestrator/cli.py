"""`kiln`: the command line. Data goes to stdout, messages to stderr."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from orchestrator.commands import numbers
from orchestrator.manifest.model import TIMEOUT
from orchestrator.report.exit_codes import (
    INFRASTRUCTURE,
    INTERRUPTED,
    MEANINGS,
    OK,
    SOME_FAILED,
    USAGE,
)


def parser() -> argparse.ArgumentParser:
    """All commands and their options. `does` names the function that carries a command out."""
    top = argparse.ArgumentParser(
        prog="kiln",
        description="Build TensorRT engines for many models and targets; validate, sign and publish "
        "them as bundles.",
        epilog=MEANINGS,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, does: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(does=does)
        return added

    one = command(
        "validate-manifest",
        "manifests:validate_manifest",
        "Check a manifest and summarize what it asks for.",
    )
    _manifest(one)
    one = command("schema", "manifests:schema", "Print the manifest's JSON Schema.")
    one = command("plan", "manifests:plan", "Show what would be built or reused, and why.")
    one.add_argument("manifest", nargs="?", help="the manifest's YAML file; may stand after --deep")
    _store(one)
    _output(one)
    one.add_argument(
        "--deep",
        nargs="*",
        metavar="MODEL",
        help="trace and partition these models, or all of them: runs their code, builds nothing",
    )
    one = command("run", "run:run", "Build, validate and publish what a manifest asks for.")
    _manifest(one)
    _store(one)
    _output(one)
    one.add_argument(
        "--executor",
        choices=("ray", "local"),
        default="ray",
        help="ray: an embedded Ray, or the cluster at --address; local: child processes only",
    )
    one.add_argument("--address", help="a running Ray cluster: auto, or HOST:PORT of its head")
    one.add_argument("--elastic", action="store_true", help=_ELASTIC)
    one.add_argument(
        "--jobs",
        type=numbers.positive,
        help="how many steps to run at once on this machine (default: one for each core)",
    )
    one.add_argument(
        "--only", metavar="TASK", help="run only this task and those it needs, such as m/trace"
    )
    _repeat(one)
    one.add_argument("--run-id", help=argparse.SUPPRESS)
    one = command("submit", "submit:submit", "Run a manifest as a job of a Ray cluster.")
    _manifest(one)
    _store(one)
    one.add_argument(
        "--address",
        default=os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265"),
        help="address of the cluster's dashboard (default: $RAY_API_SERVER_ADDRESS or %(default)s)",
    )
    one.add_argument(
        "--no-wait", action="store_true", help="return as soon as the job is submitted"
    )
    one.add_argument("--elastic", action="store_true", help=_ELASTIC)
    _repeat(one)
    one = command("status", "status:status", "Show the latest run, or the one named.")
    one.add_argument("run", nargs="?", help="a run's id (default: the latest)")
    _store(one)
    _output(one)
    one = command(
        "report",
        "report:report",
        "Show what runs in engines, what in torch, and why, node by node.",
    )
    one.add_argument(
        "what",
        nargs="?",
        help="a run's id, or a bundle: NAME, NAME@VERSION (default: the latest run)",
    )
    _store(one)
    _output(one)
    one = command(
        "explain",
        "explain:explain",
        "Say what is other in two results: where it began, and what follows.",
    )
    one.add_argument("a", help="a bundle (minilm@1), a run's id, or a result's key (sha256:...)")
    one.add_argument("b", help="another of the same kind")
    _store(one)
    _output(one)
    one = command(
        "validate",
        "bundles:validate",
        "Validate a published variant on this machine, and sign the evidence.",
    )
    one.add_argument("bundle", help="NAME, NAME@VERSION or NAME:ALIAS")
    one.add_argument("--target", required=True, help="the variant's target, such as rtx:sm_89")
    one.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="registers TensorRT plugins first, or operators; found in the current folder or installed",
    )
    one.add_argument(
        "--operator",
        action="append",
        default=[],
        metavar="NAME",
        help="an operator (mylib::scale) that the bundle's torch segments may call",
    )
    one.add_argument(
        "--timeout", type=numbers.seconds, default=TIMEOUT, help="seconds (default: %(default)g)"
    )
    _store(one)
    _output(one)
    one = command(
        "reproduce",
        "reproduce:reproduce",
        "Build a published trt variant again with the tactics that were proved; fail if one changes.",
    )
    one.add_argument("bundle", help="NAME, NAME@VERSION or NAME:ALIAS")
    one.add_argument("--target", required=True, help="the variant's target, such as trt:sm_90")
    one.add_argument(
        "--timeout",
        type=numbers.seconds,
        default=TIMEOUT,
        help="seconds for each build (default: %(default)g)",
    )
    _store(one)
    _output(one)
    one = command("list", "bundles:list_bundles", "List bundles, versions, aliases and variants.")
    _store(one)
    _output(one)
    one = command("alias", "alias:alias", "Point an alias at a published version, and sign that.")
    one.add_argument("bundle", help="NAME@VERSION")
    one.add_argument("alias", nargs="?", default="latest", help="its name (default: %(default)s)")
    one.add_argument(
        "--valid-days", type=numbers.days, metavar="DAYS",
        help="loaders refuse it after so many days, unless it is signed again, as `kiln run` does after "
        "half of them; 0: for ever (default: as it was)",
    )  # fmt: skip
    _store(one)
    _output(one)
    one = command(
        "revoke", "revoke:revoke", "Sign a list of keys and versions that loaders refuse."
    )
    one.add_argument("--key", action="append", default=[], metavar="ID", help="a key: sha256:HEX")
    one.add_argument(
        "--bundle", action="append", default=[], metavar="NAME@VERSION", help="a version"
    )
    one.add_argument("--undo", action="store_true", help="take these off the list again")
    _store(one)
    _output(one)
    one = command(
        "sign", "sign:sign",
        "Sign versions, their evidence and their aliases with this machine's keys too: key.pem and keys/*.pem.",
    )  # fmt: skip
    one.add_argument("bundle", nargs="+", help="NAME@VERSION, as many as wanted")
    _store(one)
    _output(one)
    one = command("export", "export:export", "Copy a version out of the store, to be served.")
    one.add_argument("bundle", help="NAME, NAME@VERSION or NAME:ALIAS")
    one.add_argument(
        "to", help="a new folder or file; with --as triton, a model repository, new or not"
    )
    one.add_argument(
        "--as", dest="form", choices=("folder", "file", "triton"), default="folder",
        help="folder, file: for enginebundle.load; triton: models for NVIDIA's Triton (default: %(default)s)",
    )  # fmt: skip
    one.add_argument(
        "--target", action="append", default=[],
        help="only what this target needs; --as triton takes one",
    )  # fmt: skip
    one.add_argument(
        "--allow-pending", action="store_true", help="--as triton: though not validated"
    )
    _store(one)
    _output(one)
    one = command("gc", "store:gc", "Remove what no version, evidence or running run needs.")
    _store(one)
    _output(one)
    one.add_argument("--dry-run", action="store_true", help="only tell what would go")
    one.add_argument(
        "--grace", type=numbers.hours, default=24.0, metavar="HOURS",
        help="keep what was written or used within this time (default: %(default)g)",
    )  # fmt: skip
    one = command(
        "store", "store:store", "Read all that a store holds; tell what is damaged or missing."
    )
    one.add_argument("action", choices=("verify",))
    _store(one)
    _output(one)
    one.add_argument(
        "--repair",
        action="store_true",
        help="set damaged blobs aside, and run again what made them",
    )
    one = command(
        "inspect", "bundles:inspect", "Print a bundle's index and the state of its variants."
    )
    one.add_argument("bundle", help="NAME, NAME@VERSION or NAME:ALIAS")
    _store(one)
    return top


_ELASTIC = "wait for pools that have no node yet, also for GPUs to validate on"


def _repeat(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--allow-unproved",
        action="store_true",
        help="move the alias even if what was validated before is not validated again",
    )
    added.add_argument(
        "--retry-failed",
        action="store_true",
        help="try again what failed before with the same inputs and toolchain",
    )


def _manifest(added: argparse.ArgumentParser) -> None:
    added.add_argument("manifest", help="the manifest's YAML file")


def _store(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--store",
        default=os.environ.get("KILN_STORE", "./store"),
        help="a folder, file://, s3:// or gs:// (default: $KILN_STORE or ./store)",
    )


def _output(added: argparse.ArgumentParser) -> None:
    added.add_argument("-o", "--output", choices=("text", "json"), default="text")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from enginebundle import errors
    from orchestrator.commands.common import UsageError
    from orchestrator.manifest.errors import ManifestError
    from orchestrator.run.executor import UnreachableError

    module, _, name = args.does.partition(":")
    try:
        does = importlib.import_module(f"orchestrator.commands.{module}")
        return int(getattr(does, name)(args))
    except (UsageError, ManifestError, errors.NotFoundError, errors.FormatError) as error:
        print(f"kiln: {error}", file=sys.stderr)
        return USAGE
    except (errors.UntrustedError, errors.StaleError) as error:
        print(f"kiln: {error}", file=sys.stderr)
        return SOME_FAILED
    except (errors.BundleError, UnreachableError) as error:
        print(f"kiln: {type(error).__name__}: {error}", file=sys.stderr)
        return INFRASTRUCTURE
    except KeyboardInterrupt:
        print("kiln: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone: keep Python from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


if __name__ == "__main__":
    sys.exit(main())
