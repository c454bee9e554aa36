"""What building TensorRT engines and running them share: the package, its messages, the machine they are tied to."""
