"""Sources of the kernels that run on a device, as data: `edgetrack.runtime.cuda` compiles them."""
