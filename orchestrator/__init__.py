"""The farm: turns a manifest into a plan, runs its tasks anywhere, and publishes the results."""
