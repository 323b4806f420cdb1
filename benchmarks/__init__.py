"""What the project's pages claim, measured; run from the repository's root: `python -m benchmarks.speed.sampling`."""
