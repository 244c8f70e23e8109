"""What tests know of training_script.py: importing it would take a second of each worker, for scikit-learn."""

from __future__ import annotations

from pathlib import Path

SCRIPT = Path(__file__).with_name("training_script.py")
EPOCHS = 12
RATES = (0.0001, 0.01)
