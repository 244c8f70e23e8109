"""A training script as its author would write it for MLflow: nothing in it knows of runstream.

python training_script.py TRACKING_URI EXPERIMENT
"""

from __future__ import annotations

import math
import sys

import mlflow
import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

EPOCHS = 12
RATES = (0.0001, 0.01)


def main(tracking_uri: str, experiment: str) -> None:
    """Trains two models on the digits of scikit-learn."""
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(experiment)
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(pixels / 16, digits, random_state=0)
    for alpha in RATES:
        with mlflow.start_run(run_name=f"alpha-{alpha:g}") as run:
            mlflow.log_params({"alpha": alpha, "epochs": EPOCHS})
            mlflow.set_tag("team", "vision")
            model = SGDClassifier(alpha=alpha, random_state=0)
            for epoch in range(EPOCHS):
                model.partial_fit(train_x, train_y, classes=np.arange(10))
                scores = {"accuracy": model.score(test_x, test_y), "train/accuracy": model.score(train_x, train_y)}
                mlflow.log_metrics(scores, step=epoch)
                mlflow.log_metric("system/cpu_utilization_percentage", 50 + 10 * math.sin(epoch), step=epoch)
            mlflow.log_text(f"the report of {run.info.run_name}", "reports/report.txt")
            mlflow.sklearn.log_model(
                model,
                name="classifier",
                registered_model_name=f"{experiment}-classifier" if alpha == RATES[0] else None,
                signature=infer_signature(train_x, model.predict(train_x)),
                pip_requirements=["scikit-learn"],
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
