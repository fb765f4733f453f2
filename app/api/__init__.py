"""How the API behaves, whatever it is about: errors, limits, what it reads, how it is described."""
