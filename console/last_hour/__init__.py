"""Throughput and latency of the last hour: `minutes.py` reads them, `charts.py` draws them."""
