"""Start the notebook server that the arguments name; visit it without a token, with a wrong one and the right one.

python tools/visit_notebooks.py jupyter lab --no-browser --ip=127.0.0.1
"""

import http.client
import json
import os
import secrets
import subprocess
import sys
import time

PORT = 8888
TOKEN = secrets.token_hex()
PATIENCE = 120  # seconds
PAGE = "/api/contents/notebooks/post_mortem.ipynb"


def visit(token: str | None) -> tuple[int, bytes]:
    """Return the status code and the body of the server's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request("GET", PAGE, headers={"Authorization": f"token {token}"} if token else {})
    response = connection.getresponse()
    return response.status, response.read()


def wait_for(server: subprocess.Popen[bytes]) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None:
        if time.monotonic() > deadline:
            sys.exit(f"the server did not answer within {PATIENCE} s")
        try:
            visit(None)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"the server ended with {server.returncode}")


def main() -> None:
    if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    command = [
        *sys.argv[1:],
        f"--ServerApp.port={PORT}",
        "--ServerApp.port_retries=0",
    ]  # another server must not be visited
    server = subprocess.Popen(command, env=os.environ | {"JUPYTER_TOKEN": TOKEN})
    try:
        wait_for(server)
        (stranger, _), (guess, _), (code, body) = (visit(token) for token in (None, "guess", TOKEN))
    finally:
        server.terminate()
        server.wait()
    print(f"without a token {stranger}, with a wrong one {guess}, with the right one {code}")
    if (stranger, guess, code) != (403, 403, 200) or not json.loads(body)["content"]["cells"]:
        sys.exit("a server with a token answers 403, 403, 200, with a notebook")


if __name__ == "__main__":
    main()
