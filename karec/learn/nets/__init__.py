"""The models as torch modules: ranker, towers, logistic regression and their layers."""
