"""System metrics of runs that asked for them. They are the agent's work, not the training process's.

samplers.py  CPU, memory, disk, network (psutil) and GPUs (nvidia-ml-py), under MLflow's names
monitor.py   which journals asked; a journal of the agent's own for each
"""

from runstream.system_metrics.monitor import SystemMetrics

__all__ = ["SystemMetrics"]
