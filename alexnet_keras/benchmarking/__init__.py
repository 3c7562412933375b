"""Benchmarks: the speed of this project on a machine, next to what the machine can do."""
