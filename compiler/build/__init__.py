"""From segments to engines: networks, builders, the cache of engines, and a check without a GPU."""
