"""How well a tracker follows: the published toolkits' metrics, evaluation runs, score calibration, the tuning table."""
