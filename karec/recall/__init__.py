"""Recall: channels that each find some works cheaply, and the merger of what they found."""
