"""Random generators that depend on what they are for, not on what ran before.

A resumed campaign continues bit for bit because no generator carries state over a step.
"""

from __future__ import annotations

import hashlib

import torch


def seeded_generator(purpose: str, *numbers: int, device: str = "cpu") -> torch.Generator:
    """A generator seeded by its purpose and numbers such as the seed and a step."""
    digest = hashlib.sha256(repr((purpose, numbers)).encode()).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return generator
