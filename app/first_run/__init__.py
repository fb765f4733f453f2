"""`make run` and `make order`: the service from nothing, with embedded brokers and a mailbox."""
