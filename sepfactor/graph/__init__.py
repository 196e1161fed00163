"""Everything that knows ONNX: reading, preparing, surveying, lowering, replacing and writing models."""
