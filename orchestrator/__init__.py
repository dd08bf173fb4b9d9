"""The farm: a manifest becomes a plan, its tasks run anywhere, what they make is published."""
