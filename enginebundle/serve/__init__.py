"""From a reference to a session that answers: pick a variant, verify, open, run, prove."""
