"""For the process that MLflow scripts are forks of: what each of them would find out when it logs its first model.

Importing this does it, which takes 1.2 s of processor time.
"""

from __future__ import annotations

import skops.io  # noqa: F401 - it lists the types of all modules
from mlflow.utils import requirements_utils

requirements_utils._init_modules_to_packages_map()
