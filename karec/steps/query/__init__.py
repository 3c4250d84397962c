"""Query hydrators: they add features of the user to the request."""
