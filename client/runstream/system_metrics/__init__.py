"""System metrics of the runs that ask for them. The agent samples them, not the training process.

samplers.py  CPU, memory, disk, network (psutil) and GPUs (nvidia-ml-py), under MLflow's names
monitor.py   finds the journals that ask for them, and writes a journal of the agent's own for each
"""

from runstream.system_metrics.monitor import SystemMetrics

__all__ = ["SystemMetrics"]
