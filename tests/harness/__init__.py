"""What the tests run on: real servers, the service's real processes, and the means to disturb them."""
