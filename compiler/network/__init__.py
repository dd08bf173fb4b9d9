"""A TensorRT network as a frozen value: recorded, emitted into TensorRT, evaluated with torch."""
