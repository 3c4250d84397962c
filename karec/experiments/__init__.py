"""Experiments: layers, assignment of units to arms, and one pipeline for each combination of arms."""
