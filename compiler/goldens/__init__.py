"""Inputs, reference outputs and tolerances that prove a variant."""
