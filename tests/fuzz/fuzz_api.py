"""Asks a server of demonstration data for whatever its description allows, and for much that it does not, as each kind of
principal, with schemathesis.

usage: fuzz_api.py DIRECTORY_OF_THE_PROGRAMS SECONDS_PER_PRINCIPAL [SEED]
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

# Not made: that whatever fits the description is accepted. A ledger refuses an order that is paid already, and no schema can
# say so. That a header nobody knows is refused: HTTP wants it ignored (RFC 9110, section 5.1).
CHECKS = [
    "no_fault",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "ignored_auth",
]

# Whoever asks for these ends the run: the token is revoked, or nothing is answered any more.
LEFT_OUT = ["/v1/tokens/{id}/revoke", "/v1/users/{id}/disable"]


def main(programs: Path, seconds: int, seed: str | None) -> int:
    with tempfile.TemporaryDirectory(prefix="daybook-fuzz-") as home:
        environment = {**os.environ, "DAYBOOK_HOME": home, "DATABASE_URL": "", "RUST_LOG": "error"}
        daybook = programs / "daybook"
        subprocess.run([daybook, "demo", "--if-empty"], env=environment, check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen(
            # As many requests as come: what is refused for their number says nothing of them.
            [programs / "daybook-server", "--listen", "127.0.0.1:0", "--rate-limit", "0", "--rate-limit-address", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = address(server)
            print(f"serving at {url}", flush=True)
            failed = [name for name, token in principals(daybook, environment, url) if not fuzz(url, name, token, seconds, seed)]
            with urllib.request.urlopen(f"{url}/livez") as live:
                assert live.status == 200
        finally:
            server.terminate()
            server.wait(timeout=60)
    print(f"failed as {', '.join(failed)}" if failed else "nothing outside the description, and no fault", flush=True)
    return 1 if failed else 0


def address(server: subprocess.Popen) -> str:
    """The server says where it listens, in a line of its own."""
    for line in server.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            return found.group()
    raise SystemExit("the server has ended before it listened")


def principals(daybook: Path, environment: dict, url: str):
    def token(*arguments: str) -> str:
        made = subprocess.run([daybook, "token", "create", *arguments], env=environment, check=True, capture_output=True, text=True)
        return made.stdout.strip()

    staff = token("--role", "staff")
    asked = urllib.request.Request(f"{url}/v1/customers?limit=1", headers={"authorization": f"Bearer {staff}"})
    with urllib.request.urlopen(asked) as answer:
        customer = json.load(answer)["data"][0]["id"]
    yield "customer", token("--customer", customer)
    yield "staff", staff
    for role in ["auditor", "operator"]:
        yield role, token("--role", role)


def fuzz(url: str, name: str, token: str, seconds: int, seed: str | None) -> bool:
    print(f"asking as {name} for {seconds} s", flush=True)
    command = [
        Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json",
        "--header", f"Authorization: Bearer {token}",
        "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing",
        "--max-time", str(seconds),
        "--continue-on-failure",
        "--no-color",
        "--warnings", "off",
    ]
    if seed:
        command += ["--seed", seed]
    for path in LEFT_OUT:
        command += ["--exclude-path", path]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("hooks.py"))}
    with tempfile.TemporaryDirectory() as directory:
        ran = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    # The summary says what was tested; what failed stands before it.
    print("\n".join(lines[-25:] if ran.returncode == 0 else lines[:400] + lines[-25:]), flush=True)
    if ran.returncode != 0:
        print(ran.stderr[-2000:], flush=True)
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), *(sys.argv[3:] or [None])))
