"""Every run of a small group within bounds, by the very core: `python -m edge.sim.explore`."""
