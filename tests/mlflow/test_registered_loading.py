"""A model that was logged, registered and loaded again by its name, number and alias, with MLflow's own functions."""

from __future__ import annotations

import json
import uuid
import warnings

import mlflow
import pytest

from tests.support.rest import Rest

with warnings.catch_warnings():
    # Warnings of MLflow during its import are not our fault.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc


class _Doubles(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # no types of it
    def predict(self, context: object, model_input: list[float], params: object = None) -> list[float]:
        return [2 * value for value in model_input]


@pytest.mark.filterwarnings("ignore")  # what MLflow says of a model without type hints and requirements
def test_a_registered_model_is_loaded_by_number_and_alias(client: mlflow.MlflowClient, ours: Rest) -> None:
    name = f"model-{uuid.uuid4().hex}"
    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        logged = mlflow.pyfunc.log_model(name="doubles", python_model=_Doubles(), pip_requirements=[])
    registered = mlflow.register_model(logged.model_uri, name)
    client.set_registered_model_alias(name, "champion", registered.version)

    for uri in (f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/latest"):
        assert mlflow.pyfunc.load_model(uri).predict([1.0, 2.0]) == [2.0, 4.0]
    version = client.get_model_version(name, "1")
    assert (version.source, version.run_id) == (f"models:/{logged.model_id}", run.info.run_id)
    tags = mlflow.get_logged_model(logged.model_id).tags
    # The server writes the first and the client the second, on a stock server too.
    listed = [{"name": name, "version": number} for number in (1, "1")]
    assert json.loads(tags["mlflow.modelVersions"]) == listed
    assert client.search_model_versions(f"run_id = '{run.info.run_id}'")[0].name == name

    copied = client.copy_model_version(f"models:/{name}@champion", f"{name}-copy")
    assert mlflow.pyfunc.load_model(f"models:/{copied.name}/1").predict([3.0]) == [6.0]
    stolen = {"name": name, "source": f"models:/{logged.model_id}", "model_id": "m-" + "0" * 32}
    assert ours.post("model-versions/create", stolen).status == 400
