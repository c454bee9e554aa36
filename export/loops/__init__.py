"""The published tracking loops in eager PyTorch: what the parity gate and the benchmarks compare with."""
