"""Stores in a local folder or an object store, and this machine's keys."""
