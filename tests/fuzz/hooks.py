"""What the fuzzer checks beside its own checks."""

import schemathesis


@schemathesis.check
def no_fault(ctx, response, case):
    """A server error is a fault. That the server cannot do something now is none, if it says when to come back."""
    if response.status_code < 500:
        return
    # Nothing that is asked here takes long, so that a handler that was given up is a fault.
    given_up = any(code in response.text for code in ("/problems/deadline-passed", "/problems/outcome-unknown"))
    if response.status_code == 503 and "retry-after" in response.headers and not given_up:
        return
    raise AssertionError(f"{response.status_code} is a fault of the server: {response.text[:500]}")
