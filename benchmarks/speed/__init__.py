"""Milliseconds of nine models beside eager, Inductor and TensorRT through ONNX: parts of gpu_speed.py.

subjects.py      the models, their sizes and inputs
rows.py          what there is to measure, in which order, and the file of rows
engines.py       engines by our own compiler and by the ONNX path
clock.py         how long a call takes, and whether its numbers are right
measure.py       one row
experiments.py   our network with one thing changed
layers.py        which kernels an engine runs, and how long each takes
table.py         medians, ratios and the table
"""
