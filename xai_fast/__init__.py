"""xai_fast explains PyTorch models in big batches, at the cost of little more than their own gradients."""
