"""The engines that run a model's forward pass."""
