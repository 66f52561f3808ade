"""Owns models outside of PyTorch: ONNX graphs, what samples from them, and a page that runs them in a browser."""
