"""Runs that real Ray shares out, whatever is killed or frozen meanwhile."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress

import psutil
import pytest

from tests.fake_api import answer_to
from tests.reading import asking, completions, table, texts, until, write

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

PART = ("--set", "output.part_rows=20")
SUMMED = ("attempts", "input_tokens", "output_tokens")


def answers(prompts):
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def sums(run):
    read = table(run)
    return {name: sum(read[name].to_pylist()) for name in SUMMED}


def cards(run):
    """What workers have told of themselves, by name."""
    found = {}
    for path in (run / "workers").glob("ray-*.json"):
        with suppress(ValueError, OSError):
            card = json.loads(path.read_text())
            found[card["worker"]] = card
    return found


def pid_of_worker(run):
    """The process of a worker that has a part."""
    until(lambda: [card for card in cards(run).values() if card["in_flight"]])
    return next(card["pid"] for card in cards(run).values() if card["in_flight"])


def is_counted(run, api):
    """Whether each request is in some row: those in flight at a kill as perhaps billed."""
    told = sum(table(run)["attempts"].to_pylist())
    lost = sum(table(run)["maybe_billed_attempts"].to_pylist())
    return told - lost <= len(api.ledger) <= told


@pytest.fixture
def shared(api, tmp_path, ray_address):
    """The command of a run of 400 rows, which four workers share."""
    write(tmp_path / "in.jsonl", texts(400))
    (tmp_path / ".keys").write_text("THE_KEY=sk-canary-1234567890\n")
    api.key = "sk-canary-1234567890"
    of_key = ("--set", "endpoint.api_key_env=THE_KEY", "--env-file", ".keys")
    alone = ("run", "in.jsonl", *asking(api, "-c", 12, *PART, *of_key))
    return alone, (*alone, "--engine", "ray", "--workers", 4, "--ray-address", ray_address)


@pytest.fixture
def started(start):
    """Starts the program in an interpreter of its own."""
    return lambda *words: start(*words, fresh=True)


def ended(process, wait=120):
    said = process.communicate(timeout=wait)[1]
    return process.returncode, said


def test_workers_do_together_what_one_process_does(
    shared, api, started, batchmill, tmp_path, ray_folder
):
    alone, command = shared
    code, said = ended(started(*command, "-o", "shared"))
    assert code == 0, said
    assert api.prompts() == dict.fromkeys(texts(400), 1)
    assert batchmill(*alone, "-o", "alone").exit_code == 0
    assert completions(tmp_path / "shared") == completions(tmp_path / "alone")
    assert sums(tmp_path / "shared") == sums(tmp_path / "alone")
    assert batchmill("verify", "shared").exit_code == 0
    assert json.loads(batchmill("status", "shared", "--json").stdout)["state"] == "finished"
    for folder in (ray_folder, tmp_path / "shared"):
        told = [path for path in folder.rglob("*") if path.is_file()]
        assert not [path for path in told if b"sk-canary" in path.read_bytes()]


def test_killed_workers_and_a_killed_driver_lose_nothing(shared, api, started, batchmill, tmp_path):
    alone, command = shared
    api.latency = 0.3
    run = tmp_path / "runs/in"
    driver = started(*command)
    until(lambda: len(api.ledger) > 50, driver)
    os.kill(pid_of_worker(run), signal.SIGKILL)
    until(lambda: len(api.ledger) > 150, driver)
    driver.kill()
    driver.wait()
    api.latency = 0.0
    code, said = ended(started(*command, "--workers", 2))
    assert code == 0, said
    assert completions(run) == answers(texts(400))
    assert is_counted(run, api)
    assert batchmill("verify", "runs/in").exit_code == 0
    assert batchmill(*alone).exit_code == 0


def test_an_interrupt_drains_all_workers(shared, api, started, batchmill, tmp_path):
    alone, command = shared
    api.latency = 0.5
    driver = started(*command)
    until(lambda: len(api.ledger) > 40, driver)
    driver.send_signal(signal.SIGINT)
    code, said = ended(driver)
    assert code == 130, said
    asked = len(api.ledger)
    assert len(completions(tmp_path / "runs/in")) == asked < 400
    assert json.loads(batchmill("status", "runs/in", "--json").stdout)["state"] == "interrupted"
    api.latency = 0.0
    assert batchmill(*alone).exit_code == 0
    assert api.prompts() == dict.fromkeys(texts(400), 1)


def test_a_frozen_worker_goes_on_and_asks_nothing_twice(shared, api, started, tmp_path):
    _, command = shared
    api.latency = 0.2
    driver = started(*command)
    frozen = pid_of_worker(tmp_path / "runs/in")
    os.kill(frozen, signal.SIGSTOP)
    asked = len(api.ledger)
    until(lambda: len(api.ledger) > asked + 100, driver)
    os.kill(frozen, signal.SIGCONT)
    code, said = ended(driver)
    assert code == 0, said
    assert completions(tmp_path / "runs/in") == answers(texts(400))
    assert api.prompts() == dict.fromkeys(texts(400), 1)


def test_without_its_coordinator_a_run_stops_and_goes_on_later(
    shared, api, started, batchmill, tmp_path
):
    alone, command = shared
    api.latency = 0.3
    driver = started(*command)
    until(lambda: len(api.ledger) > 50, driver)
    named = [each for each in psutil.process_iter(["cmdline"]) if _is_coordinator(each)]
    assert named
    for process in named:
        process.kill()
    code, said = ended(driver)
    assert code == 3, said
    api.latency = 0.0
    assert batchmill(*alone).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(texts(400))
    assert api.prompts() == dict.fromkeys(texts(400), 1)


def _is_coordinator(process):
    return any("ray::CoordinatorActor" in word for word in process.info["cmdline"] or ())


def test_workers_of_another_version_are_refused(api, started, tmp_path, other_ray):
    write(tmp_path / "in.jsonl", texts(20))
    words = asking(api, "--engine", "ray", "--workers", 2, "--ray-address", other_ray)
    code, said = ended(started("run", "in.jsonl", *words))
    assert code == 4, said
    assert "0.0.1" in said
    assert not api.ledger


def test_a_missing_key_is_said_once_before_anything_is_asked(shared, api, started, tmp_path):
    _, command = shared
    (tmp_path / ".keys").write_text("THE_KEY=sk-wrong\n")
    code, said = ended(started(*command))
    assert code == 3, said
    assert len(api.ledger) < 40
    assert "sk-wrong" not in said


def test_ray_is_started_where_no_address_is_given_and_ends_with_its_driver(api, started, tmp_path):
    write(tmp_path / "in.jsonl", texts(300))
    api.latency = 0.3
    command = ("run", "in.jsonl", *asking(api, "-c", 12, *PART), "--engine", "ray")
    driver = started(*command, "--workers", 3)
    until(lambda: len(api.ledger) > 40, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    code, said = ended(driver)
    assert code == 130, said
    asked = len(api.ledger)
    assert len(completions(tmp_path / "runs/in")) == asked
    driver = started(*command, "--workers", 2)
    until(lambda: len(api.ledger) > asked + 40, driver)
    driver.kill()
    driver.wait()
    code, said = ended(started(*command, "--workers", 3))
    assert code == 0, said
    assert completions(tmp_path / "runs/in") == answers(texts(300))
    assert is_counted(tmp_path / "runs/in", api)
