"""The models as torch modules: ranker, towers, logistic regression, and the layers that they share."""
