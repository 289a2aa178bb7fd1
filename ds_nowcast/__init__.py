"""The trainer: stream, model, DeepSpeed engine, scores, forecasts."""
