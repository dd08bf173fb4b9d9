"""From a plan to results in the store: schedule, execute, publish."""
