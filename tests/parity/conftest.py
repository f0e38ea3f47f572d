"""Parity with NeMo-RL's source tree, where it is on PYTHONPATH."""

from __future__ import annotations

from tests.support.nemo_rl import allow_old_python

allow_old_python()
