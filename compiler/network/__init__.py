"""A TensorRT network as a frozen value: recorded, emitted into a builder, computed with torch."""
