"""Where a store's files live: a local folder, or an object store."""
