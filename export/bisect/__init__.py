"""Where two artifacts, or an artifact and its source, begin to differ: layer by layer, on inputs of a real clip.

`probes` looks inside the graphs of one side, `structure` says what its blocks are, `search` compares them until the
first layer is found, `picture` draws the error.
"""
