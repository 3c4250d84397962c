"""The engine: requests, candidates, step roles, the cascade that runs them."""
