"""Takes a plan to results in the store: schedules, executes, publishes."""
