"""The parity gate: does a built artifact give what its source gives?

`tensors` compares every output of every graph on real inputs, `loop` the boxes of the whole tracking loop on
a clip, `report` holds what was found, `gate` runs them and decides.
"""
