"""Request hydrators: the user's features and the user vector, computed once a request."""
