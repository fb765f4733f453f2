"""Measures one subject in the environment of this process, and prints the outcomes as JSON."""

import importlib
import json
import sys
from dataclasses import asdict

import django


def main() -> None:
    name, seconds = sys.argv[1:]
    django.setup()
    module = importlib.import_module(f"benchmarks.{name}")
    print(json.dumps([asdict(outcome) for outcome in module.measure(float(seconds))]))


if __name__ == "__main__":
    main()
