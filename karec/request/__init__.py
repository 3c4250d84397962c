"""Request hydrators: the user's features and the user vector, once a request."""
