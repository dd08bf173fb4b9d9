"""From a graph of ATen calls to a network: a converter for each operator, or a refusal with its reason."""
