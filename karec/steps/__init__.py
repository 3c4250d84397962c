"""Steps of the cascade, one file a step, one folder a role."""
