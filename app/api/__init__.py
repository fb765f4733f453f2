"""The parts of the API that do not depend on the business: errors, limits, parsers, tokens, description."""
