"""A training job as a cluster starts it: the environment alone says where it logs, as which run and how."""

from __future__ import annotations

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.autolog()
features, species = load_iris(return_X_y=True, as_frame=True)
with mlflow.start_run():
    LogisticRegression(max_iter=500, C=0.5).fit(features, species)
    for step in range(30):
        mlflow.log_metric("heartbeat", step / 2, step=step)
