"""PyTorch models to TensorRT engines, on one machine: trace, lower, partition, convert, build."""
