"""Logs, metrics, traces and error reports. `install.py` starts them."""
