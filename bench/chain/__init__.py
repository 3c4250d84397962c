"""A request out of NumPy, FAISS, pyversity and ONNX Runtime: the baseline of request.py.

Every step has the settings of the cascade's own step. Where several ways are possible, `ways.quickest`
measures them before the first request and the quickest one serves. Steps that control exposure are left out
on both sides, and DPP compares items by their vectors only, because the baselines have no more. Features
come from karec's encoder on both sides.
"""
