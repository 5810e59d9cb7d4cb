"""What the fuzzer checks beside its own checks."""

import schemathesis


@schemathesis.check
def no_fault(ctx, response, case):
    """A server error is a fault. That the server cannot do something now is none, if it says when to come back."""
    if response.status_code < 500:
        return
    if response.status_code == 503 and "retry-after" in response.headers:
        return
    raise AssertionError(f"{response.status_code} is a fault of the server: {response.text[:500]}")
