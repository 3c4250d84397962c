"""The baseline of request.py: a chain of steps from NumPy, FAISS, pyversity and ONNX Runtime.

Each step has the settings of the cascade's step. If several methods are possible, `methods.fastest` measures
them before the first request and the fastest one serves. Both sides leave out exposure control, and their DPP
compares items by vectors only, because the libraries have no more. Both sides use karec's encoder of
features.
"""
