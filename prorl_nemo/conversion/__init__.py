"""NeMo-RL, Megatron and DCP checkpoints to Hugging Face directories, on a CPU.

Importing this package loads neither megatron nor ray; reading a checkpoint needs torch and
safetensors only. The entry is :func:`prorl_nemo.conversion.convert.convert_checkpoint`.
"""
