"""A trained model in forms that other programs take: ONNX, and a program of torch.export."""
