"""Sources: each one is a retrieval method; a merger joins what they found."""
