"""`kiln status`: what a run is doing or how it ended, from its record in the store."""

from __future__ import annotations

import argparse

from orchestrator.commands.common import UsageError, columns, open_store, print_json
from orchestrator.report import record, report
from orchestrator.worker import progress


def status(args: argparse.Namespace) -> int:
    """Print the run. Returns 0 whatever the run's own exit code was: that one is printed."""
    store = open_store(args.store)
    known = record.ids(store)
    if not known:
        raise UsageError(f"store {store.uri} has no runs yet")
    found = record.status(store, args.run or known[-1])
    if args.output == "json":
        print_json(found)
        return 0
    ended = found["results"]
    if ended is None:
        rows = [("TASK", "STATE", "SINCE", "")]
        for name, event in found["tasks"].items():
            detail = event.get("message") or event.get("because") or event.get("host", "")
            if "progress" in event:
                detail = progress.text(event["progress"])
            rows.append((name, event["state"], event.get("time", "")[:19], detail))
        print(f"run {found['run']} has not ended (or was killed)")
        print(columns(rows))
        return 0
    print(f"run {ended['run']} ended {ended['ended'][:19]} with exit code {ended['exit_code']}")
    print(report.text([report.Row(**row) for row in ended["rows"]]))
    print(ended["totals"])
    return 0
