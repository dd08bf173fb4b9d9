"""`kiln submit`: the same run as a job of a Ray cluster, watched from here."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from orchestrator.commands.common import UsageError, open_store
from orchestrator.manifest.load import load
from orchestrator.plan.content import contents
from orchestrator.report import record
from orchestrator.report.exit_codes import INFRASTRUCTURE


def submit(args: argparse.Namespace) -> int:
    """Start the job and, unless told otherwise, stay until it ends; its exit code.

    The code comes from the run's own results: Ray's says 1 for any failure. The manifest's folder
    travels with the job, so paths in it must be relative; the store must be one that the cluster
    and this machine both reach.
    """
    path = Path(args.manifest).resolve()
    manifest = load(path)
    contents(manifest)
    store = open_store(args.store, create=True)
    if "://" not in store.uri:
        print(
            f"store {store.uri} is a folder: every node of the cluster must have it mounted there",
            file=sys.stderr,
        )
    try:
        from orchestrator.run.ray_executor import RayJob
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("Ray is not installed: pip install 'enginekiln[farm]'") from error
    run = record.new_id(manifest.digest)
    command = ["python", "-m", "orchestrator.cli", "run", path.name, "--store", store.uri]
    command += ["--address", "auto", "--run-id", run]
    if args.elastic:
        command.append("--elastic")
    job = RayJob.submit(args.address, run, shlex.join(command), path.parent, Path(store.uri))
    print(run)
    print(f"submitted {run} to {args.address}", file=sys.stderr)
    if args.no_wait:
        return 0
    job.follow(sys.stderr)
    results = record.results(store, run)
    if results is None:
        print(f"job {run} ended without results: {job.message()}", file=sys.stderr)
        return INFRASTRUCTURE
    print(results["totals"])
    return int(results["exit_code"])
