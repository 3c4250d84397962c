"""The models as torch modules: ranker, towers, baselines, and the layers they share."""
