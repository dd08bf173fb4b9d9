"""Bundles for NVIDIA's Triton Inference Server."""
