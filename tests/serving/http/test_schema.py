"""Whatever the OpenAPI schema allows, and much that it forbids, is answered as the schema says, never by a failure."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from tests.serving.http.conftest import Json

EXAMPLES = 40  # of each operation


def test_the_schema_names_every_path_and_failure(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    operations: Json = {
        (path, method): operation
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    }
    assert set(operations) == {
        *((f"/v1/{name}", "post") for name in ("completions", "chat/completions", "rewrite", "score")),
        *((path, "get") for path in ("/v1/models", "/v1/models/{name}", "/v1/run", "/healthz", "/metrics")),
    }
    assert all({"200", "4XX", "5XX"} == set(operation["responses"]) for operation in operations.values())
    fields = schema["components"]["schemas"]["CompletionRequest"]["properties"]
    assert all(field.get("description") for name, field in fields.items() if name != "stream_options")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["POSITIVE", "NEGATIVE"])
def test_no_request_is_a_failure(live: str, name: str) -> None:
    import schemathesis  # it takes half a second, which the other test saves
    from schemathesis import GenerationMode, checks

    mode = GenerationMode[name]
    wanted = [
        checks.not_a_server_error,
        checks.response_schema_conformance,
        checks.status_code_conformance,
        checks.content_type_conformance,
    ]
    schema = schemathesis.openapi.from_url(live.replace("/v1", "/openapi.json"))
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode == GenerationMode.NEGATIVE and operation.method == "get":
            continue  # nothing can be wrong with these
        cases = operation.as_strategy(generation_mode=mode)

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(cases)
        def run(case: schemathesis.Case) -> None:
            response = case.call(timeout=60)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=wanted)

        run()
    assert statuses[400] > EXAMPLES and (statuses[200] > 10 or mode == GenerationMode.NEGATIVE)
