"""The baseline of request.py: a chain of steps from NumPy, Numba, FAISS and ONNX Runtime with the same pages.

Each step has the settings of the cascade's step. If several methods are possible, `methods.fastest` measures
them before the first request and the fastest one serves. Both sides leave out exposure control and muted
creators. Both sides use karec's encoder of features and lists of items. The chain checks nothing, keeps no
trace, and knows neither conditions nor an online store.
"""
