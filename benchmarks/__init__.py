"""Measures the whole tracking loop, and what is around it.

`loop` runs contenders over the frames of a clip, in turns; `stats` makes numbers of times; `report` puts them into the
document `bench-1.schema.json` describes. Programs of their own, run as `python -m edgetrack.benchmarks.NAME`:
`outside` (what a frame costs beside the network), `growth` (memory of a long video), `startup` (imports and loading),
`profile` (operators, and the share of the machine's matrix rate), `results` (all of it, into RESULTS.md).
"""
