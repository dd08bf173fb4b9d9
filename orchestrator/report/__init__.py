"""What a run says: while it goes on, on record, at its end."""
