"""`kiln submit`: a run as a job on a Ray cluster, watched from here."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from enginebundle.format.digest import digest_json, hexadecimal
from orchestrator.commands.common import UsageError, open_store
from orchestrator.manifest.load import load
from orchestrator.plan.content import contents
from orchestrator.report import record
from orchestrator.report.exit_codes import INFRASTRUCTURE


def submit(args: argparse.Namespace) -> int:
    """Start the job and, without --no-wait, follow it until it ends; returns the run's exit code.

    The code comes from the run's own results, because Ray reports 1 for any failure. The manifest's
    folder is copied to the cluster with the job, so paths in the manifest must be relative. The
    cluster and this machine must both be able to reach the store.
    """
    path = Path(args.manifest).resolve()
    manifest = load(path)
    contents(manifest)
    store = open_store(args.store, create=True)
    if "://" not in store.uri:
        print(
            f"store {store.uri} is a folder: every node of the cluster must have it mounted at that path",
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
    if args.allow_unproved:
        command.append("--allow-unproved")
    if args.retry_failed:
        command.append("--retry-failed")
    asked = [
        manifest.digest,
        str(path),
        store.uri,
        args.elastic,
        args.allow_unproved,
        args.retry_failed,
    ]
    request = hexadecimal(digest_json(asked))[:16]
    job = RayJob.submit(
        args.address, run, request, shlex.join(command), path.parent, Path(store.uri)
    )
    if job.run != run:
        print(f"a job for this manifest and store goes on: run {job.run}", file=sys.stderr)
    else:
        print(f"submitted {run} to {args.address}", file=sys.stderr)
    run = job.run
    print(run)
    if args.no_wait:
        return 0
    job.follow(sys.stderr)
    results = record.results(store, run)
    if results is None:
        print(f"job {run} ended without results: {job.message()}", file=sys.stderr)
        return INFRASTRUCTURE
    print(results["totals"])
    return int(results["exit_code"])
