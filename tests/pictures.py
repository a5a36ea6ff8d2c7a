"""The pictures of README, made anew: `python -m tests.pictures`.

A small job runs against the scripted server on a terminal of its own, whose last state becomes an
SVG; the page of its report is seen by Chromium, which has to be installed.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from tests.browser import chromium
from tests.fake_api import FakeAPI, Step

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".github" / "pictures"
COLUMNS, LINES = 116, 40
WIDTH, HEIGHT = 1000, 900
"""Of the page, in pixels."""

JOB = """\
input = "reviews.csv"
id_column = "id"
prompt = { user = "Positive or negative? {{ text }}" }
endpoint = { provider = "openai" }
limits = { concurrency = 32 }
[request]
model = "gpt-5.4-mini"
max_completion_tokens = 20
"""
TYPED = ("run reviews.toml --max-cost 1", "run reviews.toml", "report --by customer")
"""What stands on the terminal's picture, after a prompt; the first is interrupted."""

CELL, LINE, MARGIN = 8.0, 19, 16
"""Width of a letter, height of a line, and the space around, in pixels."""

UNDER_WAY = re.compile(rb" [1-5]\d\d/600 ")

_OBEYED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def main(to: Path = FOLDER) -> None:
    to.mkdir(exist_ok=True)
    api = FakeAPI()
    api.latency = 0.4
    api.models = ["gpt-5.4-mini"]
    api.script = {"review 17 ": [Step(503)], "review 230 ": [Step(429)]}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _inputs(folder)
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": made, "TERM": "xterm"}
        env |= {"OPENAI_BASE_URL": api.url, "OPENAI_API_KEY": "sk-no-key"}
        lines = []
        for typed in TYPED:
            said = _typed(typed.split(), folder, env, interrupted=typed is TYPED[0])
            lines += [f"$ batchmill {typed}", *screen(said.replace(f"{made}/", "")), ""]
        (to / "terminal.svg").write_text(svg(lines[:-1]), encoding="utf-8")
        _typed(["report", "--by", "customer", "-o", "cost.html"], folder, env)
        _seen(folder / "cost.html", to / "report.png", folder)
    api.close()


def _inputs(folder: Path) -> None:
    customers = ("acme", "globex", "initech")
    rows = [f"{n},{customers[n % 7 % 3]},review {n} says that it works\n" for n in range(600)]
    (folder / "reviews.csv").write_text("id,customer,text\n" + "".join(rows))
    (folder / "reviews.toml").write_text(JOB)


def _typed(
    words: list[str], folder: Path, env: dict[str, str], *, interrupted: bool = False
) -> str:
    """All that the program writes on a terminal; as if ^C were typed while it is under way."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", *words],
        cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while more := os.read(ours, 1 << 16):
            said += more
            if interrupted and UNDER_WAY.search(said):
                process.send_signal(signal.SIGINT)
                interrupted = False
    except OSError:  # the terminal has nobody else
        pass
    process.wait()
    os.close(ours)
    return said.decode()


def screen(said: str) -> list[str]:
    """The lines that stand there at the end, where a carriage return writes over a line."""
    lines = []
    for line in _OBEYED.sub("", said).replace("\r\n", "\n").rstrip("\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def svg(lines: list[str]) -> str:
    """Lines of text as a terminal shows them."""
    width = int(max(map(len, lines)) * CELL) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    texts = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + n * LINE + 14}"{_typed_by_hand(line)}>{escape(line)}</text>'
        for n, line in enumerate(lines)
        if line
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<style>text {{ font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
text {{ white-space: pre; fill: #d6deeb }}
.typed {{ fill: #9ece6a; font-weight: bold }}</style>
<rect width="{width}" height="{height}" rx="8" fill="#10151c"/>
{texts}
</svg>
"""


def _typed_by_hand(line: str) -> str:
    return ' class="typed"' if line.startswith("$ ") else ""


def _seen(page: Path, picture: Path, profile: Path) -> None:
    assert chromium.PATH is not None, "chromium is not installed"
    subprocess.run(
        [
            *(chromium.PATH, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={profile / 'chromium'}", f"--window-size={WIDTH},{HEIGHT}"),
            *(f"--screenshot={picture}", page.as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    main()
