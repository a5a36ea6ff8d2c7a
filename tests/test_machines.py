"""The recipes for many machines are carried out, with a process in place of each machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest
import yaml

from tests import shell_blocks
from tests.conftest import ROOT
from tests.reading import rows, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a shell of Unix carries them out")

PAGE = ROOT / "jobs" / "README.md"
ARRAY = ROOT / "jobs" / "slurm_array.sh"
MANIFEST = ROOT / "jobs" / "indexed_job.yaml"
COUNT = 1010
"""Rows: three parts."""


class Cluster:
    """A folder that all machines see, with the jobs of the recipes and more rows than theirs."""

    def __init__(self, folder):
        self.world = shell_blocks.World(folder, PAGE)
        self.folder = folder
        self.started = []
        with (folder / "reviews.csv").open("w") as file:
            file.write("id,customer,text\n")
            file.writelines(f"{row},acme,review {row:05d}\n" for row in range(COUNT))

    @property
    def api(self):
        """The server of `gateway.toml`."""
        return self.world.servers["https://llm.example.com/v1"]

    def start(self, line, **env):
        """Carry a line out on a machine of its own."""
        process = subprocess.Popen(
            self.world.script(line),
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HOME": str(self.folder),
                **self.world.env,
                **env,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def close(self):
        for process in self.started:
            process.kill()
            process.communicate()
        self.world.close()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.close()


def ended(processes):
    """The exit codes, and what was said."""
    said = [process.communicate(timeout=60)[1] for process in processes]
    return [process.returncode for process in processes], said


def answered(run):
    return [(row["row"], row["status"]) for row in rows(run)]


ALL = [(row, "ok") for row in range(COUNT)]


def array_tasks():
    """The variables of each task of the script's array, as Slurm sets them."""
    first, last = map(int, re.findall(r"^#SBATCH --array=(\d+)-(\d+)$", ARRAY.read_text(), re.M)[0])
    of_all = {
        "SLURM_ARRAY_TASK_MIN": str(first),
        "SLURM_ARRAY_TASK_MAX": str(last),
        "SLURM_ARRAY_TASK_COUNT": str(last - first + 1),
    }
    return [{**of_all, "SLURM_ARRAY_TASK_ID": str(task)} for task in range(first, last + 1)]


@pytest.mark.second_lane
def test_the_tasks_of_the_array_share_a_run_and_one_that_was_killed_runs_again(cluster):
    line = ARRAY.read_text("utf-8")
    cluster.api.latency = 1
    tasks = [cluster.start(line, **variables) for variables in array_tasks()]
    until(lambda: len(cluster.api.ledger) > 16)
    tasks[0].kill()
    cluster.api.latency = 0
    codes, said = ended(tasks)
    assert codes == [-9, *[0] * (len(tasks) - 1)], said
    assert len(answered(cluster.folder / "runs/gateway")) < COUNT
    again = cluster.start(line, **array_tasks()[0])
    codes, said = ended([again])
    assert codes == [0], said
    assert answered(cluster.folder / "runs/gateway") == ALL


def test_the_pods_of_the_indexed_job_share_a_run(cluster):
    spec = yaml.safe_load(MANIFEST.read_text("utf-8"))["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    secrets = {each["name"] for each in container["env"] if "value" not in each}
    assert secrets <= cluster.world.env.keys()
    assert spec["completionMode"] == "Indexed"
    assert env["BATCHMILL_SHARDS"] == str(spec["completions"])
    line = f"exec {shlex.join(container['command'])}"
    pods = [
        cluster.start(line, **env, JOB_COMPLETION_INDEX=str(index))
        for index in range(spec["completions"])
    ]
    codes, said = ended(pods)
    assert codes == [0] * len(pods), said
    assert answered(cluster.folder / "runs/gateway") == ALL


def test_processes_of_xargs_share_a_run(cluster):
    (line,) = [line for line in shell_blocks.commands(PAGE) if "xargs" in line]
    codes, said = ended([cluster.start(line)])
    assert codes == [0], said
    assert answered(cluster.folder / "runs/shared") == ALL
