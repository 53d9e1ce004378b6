"""The Docker file and the devcontainer name files, packages and commands that exist."""

import json
import re
import shlex

import pytest
from support.paths import ROOT

from yolo_attn import cli

INSTRUCTIONS = {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}
tomllib = pytest.importorskip("tomllib")  # Python 3.11
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions():
    """Return the instructions of the Docker file with their arguments."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


def apt_packages(command):
    """Return what a shell command installs with apt-get."""
    words = shlex.split(re.split(r"&&", command.partition("apt-get install")[2])[0])
    return {word for word in words if not word.startswith("-")}


@pytest.fixture
def devcontainer():
    return json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())


def test_the_docker_file_is_made_of_known_instructions_in_order():
    names = [name for name, _ in instructions()]
    assert set(names) <= INSTRUCTIONS
    assert names[:2] == ["ARG", "FROM"]
    assert names[-2:] == ["ENTRYPOINT", "CMD"]
    assert len(names) <= 10


def test_it_installs_the_package_and_starts_its_command():
    found = dict(instructions())
    assert json.loads(found["ENTRYPOINT"])[0] in PROJECT["scripts"]
    assert json.loads(found["CMD"]) == ["--help"]
    source, target = found["COPY"].split()
    assert (ROOT / source / "pyproject.toml").is_file()
    installs = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    assert target in installs[0].split()


def test_commands_in_its_comments_name_its_argument_and_verbs():
    comments = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("#"))
    arguments = {text.partition("=")[0] for name, text in instructions() if name == "ARG"}
    assert set(re.findall(r"--build-arg (\w+)=", comments)) <= arguments
    for command in re.findall(r"docker run .*?yolo-attn ([a-z -]+?) *(?:\(|$)", comments, re.MULTILINE):
        cli.own_parser().parse_args(command.split())


def test_both_have_the_same_system_packages_and_a_supported_python(devcontainer):
    docker = dict(instructions())
    runs = [text for name, text in instructions() if name == "RUN"]
    assert apt_packages(runs[0]) == apt_packages(devcontainer["postCreateCommand"]) != set()
    supported = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: Python :: 3." in text}
    for image in (docker["ARG"], devcontainer["image"]):
        assert re.search(r":(\d+\.\d+)", image)[1] in supported


def test_the_devcontainer_installs_an_extra_that_exists(devcontainer):
    extras = re.search(r"pip install -e '\.\[(.*?)\]'", devcontainer["postCreateCommand"])[1]
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert {"name", "image", "postCreateCommand"} <= set(devcontainer)


def test_what_git_ignores_is_not_sent_to_docker():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs", "dist"} <= set(ignored)
