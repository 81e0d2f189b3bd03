"""One command per claim: `python -m benchmarks.NAME key=value ...`."""
