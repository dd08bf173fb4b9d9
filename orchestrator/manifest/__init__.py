"""From a YAML file to a frozen Manifest, or to every mistake in it with its line."""
