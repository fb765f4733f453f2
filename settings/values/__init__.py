"""Values that are more than a text: e-mail addresses and proxies."""
