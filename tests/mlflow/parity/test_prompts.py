"""Prompts are registered models with a tag, and MLflow's client finds all of its methods for them answered."""

from __future__ import annotations

import uuid

import mlflow
import pytest


@pytest.fixture
def prompt(client: mlflow.MlflowClient) -> str:
    """A prompt of two versions."""
    name = f"prompt-{uuid.uuid4().hex[:12]}"
    client.register_prompt(name, "Hi {{who}}", commit_message="first", tags={"team": "vision"})
    client.register_prompt(name, "Hello {{who}}")
    return name


def test_prompts_are_written_in_versions_and_read_back(client: mlflow.MlflowClient, prompt: str) -> None:
    assert client.load_prompt(f"prompts:/{prompt}/1").format(who="you") == "Hi you"
    assert client.load_prompt(prompt).version == client.load_prompt(f"prompts:/{prompt}@latest").version == 2
    assert client.get_prompt(prompt).description == "first"
    assert client.get_prompt_version(prompt, "2").template == "Hello {{who}}"
    assert [found.name for found in client.search_prompts(f"name = '{prompt}'")] == [prompt]
    assert [version.version for version in client.search_prompt_versions(prompt)] == [2, 1]
    chat = client.create_prompt(f"{prompt}-chat", description="a chat").name
    messages = [{"role": "user", "content": "Hi {{who}}"}]
    assert client.create_prompt_version(chat, messages).template == messages
    assert client.parse_prompt_uri(f"prompts:/{chat}/1") == (chat, "1")


def test_prompts_have_tags_and_aliases(client: mlflow.MlflowClient, prompt: str) -> None:
    client.set_prompt_tag(prompt, "k", "v")
    client.set_prompt_version_tag(prompt, "1", "k", "w")
    assert client.get_prompt(prompt).tags["k"] == "v"
    assert client.get_prompt_version(prompt, "1").tags == {"team": "vision", "k": "w"}
    client.delete_prompt_tag(prompt, "k")
    client.delete_prompt_version_tag(prompt, "1", "k")
    assert "k" not in client.get_prompt(prompt).tags
    assert client.get_prompt_version(prompt, "1").tags == {"team": "vision"}
    client.set_prompt_alias(prompt, "production", 1)
    assert client.get_prompt_version_by_alias(prompt, "production").version == 1
    client.delete_prompt_alias(prompt, "production")
    with pytest.raises(mlflow.MlflowException, match="alias production not found"):
        client.get_prompt_version_by_alias(prompt, "production")


def test_prompts_are_linked_to_runs_and_models(client: mlflow.MlflowClient, prompt: str, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id).info.run_id
    client.link_prompt_version_to_run(run_id, f"prompts:/{prompt}/2")
    assert f'"{prompt}"' in client.get_run(run_id).data.tags["mlflow.linkedPrompts"]
    assert list(client.list_logged_prompts(run_id)) == []  # as from stock: it lists those of MLflow 2
    model_id = client.create_logged_model(experiment_id).model_id
    client.link_prompt_version_to_model(prompt, "2", model_id)
    assert f'"{prompt}"' in client.get_logged_model(model_id).tags["mlflow.linkedPrompts"]
    with pytest.raises(mlflow.MlflowException, match="is not associated with prompt"):
        client.detach_prompt_from_run(run_id, f"prompts:/{prompt}/2")


def test_prompts_are_deleted(client: mlflow.MlflowClient, prompt: str) -> None:
    client.delete_prompt_version(prompt, "1")
    assert [version.version for version in client.search_prompt_versions(prompt)] == [2]
    client.delete_prompt_version(prompt, "2")
    client.delete_prompt(prompt)
    assert client.get_prompt(prompt) is None
