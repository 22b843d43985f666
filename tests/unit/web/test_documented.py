"""The comparison of responses with the OpenAPI document notices what differs."""

from __future__ import annotations

from typing import Any

import pytest

from support.documented import check_response

ID = "d3f1a2b4-0000-4000-8000-00000000beef"
STATUS: dict[str, Any] = {
    "method": "GET",
    "resource": "/v1/orders/{order_id}/status",
    "status": 200,
    "headers": {"X-Request-Id": ID, "Vary": "Accept-Encoding", "Content-Type": "application/json"},
    "text": '{"status": "Created"}',
}
ORDER: dict[str, Any] = {
    **STATUS,
    "resource": "/v1/orders",
    "text": f"""{{"data": [{{"id": "{ID}", "number": 1, "createdDate": "2020-01-11T16:13:56.814239", "status": "Payed",
        "participantLogin": "a@b.example_x", "total": 100}}], "totalPages": 1, "currentPage": 1, "pageSize": 20}}""",
}
REFUSAL: dict[str, Any] = {
    **STATUS,
    "status": 503,
    "headers": {**STATUS["headers"], "Retry-After": "5"},
    "text": '{"message": "Send it again.", "status": 503, "errors": {}}',
}
WRONG_METHOD: dict[str, Any] = {
    **STATUS,
    "method": "PUT",
    "status": 405,
    "headers": {**STATUS["headers"], "Allow": "GET"},
    "text": '{"message": "This path supports GET.", "status": 405, "errors": {}}',
}


@pytest.mark.parametrize(
    "response", [STATUS, ORDER, REFUSAL, WRONG_METHOD], ids=["success", "list", "refusal", "wrong method"]
)
def test_as_documented(response: dict[str, Any]) -> None:
    """A response that the document describes passes."""
    check_response(**response)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({**STATUS, "status": 202}, "not in the document"),
        ({**STATUS, "headers": {**STATUS["headers"], "X-Cost": "1"}}, "x-cost"),
        ({**STATUS, "headers": {"Content-Type": "application/json"}}, "has no {'x-request-id'}"),
        ({**STATUS, "headers": {**STATUS["headers"], "X-Request-Id": "1"}}, "X-Request-Id: 1"),
        ({**STATUS, "headers": {**STATUS["headers"], "Content-Type": "text/plain"}}, "text/plain"),
        ({**STATUS, "text": '{"status": "Lost"}'}, "does not fit"),
        ({**ORDER, "text": ORDER["text"].replace("16:13", "16-13")}, "does not fit"),
        ({**REFUSAL, "headers": STATUS["headers"]}, "has no {'retry-after'}"),
        ({**REFUSAL, "headers": {**STATUS["headers"], "Retry-After": "-1"}}, "Retry-After: -1"),
        ({**WRONG_METHOD, "status": 200}, "no error"),
        ({**WRONG_METHOD, "text": "{}"}, "does not fit"),
    ],
    ids=[
        "status",
        "header that is not declared",
        "header that is required",
        "form of a header",
        "media type",
        "shape",
        "form of a time",
        "header of an error",
        "bounds of a header",
        "success of a method that is not listed",
        "shape for a method that is not listed",
    ],
)
def test_otherwise_than_documented(response: dict[str, Any], message: str) -> None:
    """A response that differs from the document fails, and the failure names the difference."""
    with pytest.raises(AssertionError) as failed:
        check_response(**response)

    assert message.lower() in str(failed.value).lower()
