"""Deployment graphs: modules of plain tensor operations that engines run well, equal to the published networks."""
