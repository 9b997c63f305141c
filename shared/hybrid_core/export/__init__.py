"""Writing models as ONNX files, which run without torch."""

from .folder import export_model

__all__ = ["export_model"]
