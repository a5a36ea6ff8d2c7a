"""The embedded model's own process: llama.cpp's HTTP server on loopback, until its standard input
ends.

It is run by path and never imported, so it imports nothing of ours.  It is a process of its own
because an interpreter that exits while an answer is computed crashes, and because native code logs
straight to descriptors 1 and 2.  Its standard input is a pipe from the parent: however the parent
ends, the pipe closes, and so does the server.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    # Ctrl-C reaches us, too; the parent still wants its answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready = os.dup(1)
    os.dup2(2, 1)
    server = _start(json.loads(sys.argv[1]), os.environ.pop("BATCHMILL_LOCAL_KEY", ""))
    os.write(ready, json.dumps({"base_url": f"{server.listening_address}/v1"}).encode() + b"\n")
    os.close(ready)
    while os.read(0, 4096):
        pass
    os._exit(0)  # no teardown: it would wait for, or trip over, answers nobody reads any more


def _start(settings: dict[str, Any], key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.n_parallel = settings["parallel"]
    params.n_ctx = settings["parallel"] * settings["context"]  # split over the slots
    params.n_predict = 1024  # a request without max_tokens must end, too
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.verbosity = 1
    if key:
        params.api_keys = [key]
    return xllamacpp.Server(params)  # returns when the model is loaded


if __name__ == "__main__":
    main()
