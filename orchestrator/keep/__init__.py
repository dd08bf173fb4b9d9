"""What keeps a store whole: which results can be used, who holds what, what may go, what is damaged."""
