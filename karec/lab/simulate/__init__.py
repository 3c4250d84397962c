"""A simulated platform: users, creators and works with known tastes."""
