"""Features: what the platform knows of users and works, as model inputs. One encoder trains and serves."""
