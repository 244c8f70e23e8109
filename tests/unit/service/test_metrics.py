"""The registry of metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from runstream_service.monitoring.metrics import Metrics
from runstream_service.monitoring.readiness import DATABASE, MIGRATIONS, Readiness


async def test_calls_are_counted_by_method_and_code() -> None:
    metrics = Metrics(version="1.2.3")
    metrics.grpc_ended("/a/B", "OK", 0.002)
    metrics.grpc_ended("/a/B", "NOT_FOUND", 0.5)
    metrics.grpc_ended("/a/Stream", "OK", None)
    metrics.http_ended("GET", "/runs/{run_id}", 200, 0.1)
    metrics.database_answers(True)
    body, content_type = await metrics.render("")
    assert content_type.startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert samples["runstream_grpc_requests_total", "/a/B", "OK"] == 1
    assert samples["runstream_grpc_requests_total", "/a/B", "NOT_FOUND"] == 1
    assert samples["runstream_grpc_requests_total", "/a/Stream", "OK"] == 1
    assert samples["runstream_grpc_request_seconds_count", "/a/B"] == 2
    assert ("runstream_grpc_request_seconds_count", "/a/Stream") not in samples
    assert samples["runstream_http_requests_total", "/runs/{run_id}", "200", "GET"] == 1
    assert samples["runstream_database_up",] == 1
    assert samples["process_resident_memory_bytes",] > 0
    assert any(key[0] == "runstream_build_info" and "1.2.3" in key for key in samples)


async def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    body, content_type = await Metrics(version="1").render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


async def test_readiness_is_a_metric_from_the_start() -> None:
    metrics, readiness = Metrics(version="1"), Readiness()
    await readiness.listen(metrics.readiness)
    assert metrics.registry.get_sample_value("runstream_ready") == 0
    await readiness.passes(DATABASE)
    await readiness.passes(MIGRATIONS)
    assert metrics.registry.get_sample_value("runstream_ready") == 1
    await readiness.fails(DATABASE, "it is away")
    assert metrics.registry.get_sample_value("runstream_ready") == 0
