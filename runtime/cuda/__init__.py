"""The CUDA runtime: devices, memory, streams and graphs, through `cuda.bindings`; no PyTorch."""
