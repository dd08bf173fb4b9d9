"""Load and run signed bundles of TensorRT engines and torch graphs."""
