"""From a reference to a session that answers: select a variant, verify it, open it, run it, validate it."""
