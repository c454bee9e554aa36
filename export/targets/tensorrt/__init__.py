"""How target `trt` builds: the two builders, one build, what it reports."""
