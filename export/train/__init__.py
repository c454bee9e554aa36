"""Training: the published three-stage recipe of FARTrack, and a smaller one for one's own data."""
