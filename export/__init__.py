"""Builds artifacts from published checkpoints: networks, deployment graphs, targets and the parity gate.

Needs `pip install 'edgetrack[export]'`; nothing that runs on a device imports it. The way in is
`edgetrack.export.pipeline.export_tracker`.
"""
