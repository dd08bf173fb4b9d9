"""From verified bytes to something callable: a runtime for each kind of segment."""
