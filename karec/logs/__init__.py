"""The rank log: written by serving, read by training and evaluation."""
