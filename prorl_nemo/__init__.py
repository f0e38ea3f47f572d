"""ProRL: prolonged reinforcement learning (arXiv 2505.24864) on NVIDIA NeMo-RL."""

__version__ = "0.1.0"
