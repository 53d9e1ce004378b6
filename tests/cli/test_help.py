"""Help: what a command does, examples that can be typed, then the options; the same for every command."""

import contextlib
import re
import shlex

import pytest

from yolo_attn import cli
from yolo_attn.cli import verbs as own
from yolo_attn.cli.examples import EXAMPLES, HOST_EXAMPLES, PROGRAM
from yolo_attn.cli.parser import own_parser, verb_parsers
from yolo_attn.host import words as host_words
from yolo_attn.host.model_files import host_model_files, shipped_models, unscaled
from yolo_attn.models.block_table import check_spelling
from yolo_attn.util.words import key_values

COMMANDS = [*cli.VERBS, *host_words.modes()]
ALL = [*PROGRAM, *(line for lines in EXAMPLES.values() for line in lines)]
ALL += [line for _, *lines in HOST_EXAMPLES.values() for line in lines]
OWN = [line for line in ALL if "eval" not in line and line.split()[1] in cli.VERBS]


def help_of(command, capsys):
    with contextlib.suppress(SystemExit):  # of argparse; the exit code is tested with the commands
        assert cli.main([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


def words_of(example):
    """The words after `yolo-attn`; a shell takes the comment and where the output goes."""
    return shlex.split(re.sub(r" > \S+", "", example), comments=True)[1:]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_examples_come_first(command, capsys):
    said = help_of(command, capsys)
    summary, nothing, title, *lines = said.splitlines()
    assert summary[0].isupper() == (not summary.startswith("export")), summary
    assert summary.endswith(".")
    assert (nothing, title) == ("", "examples:")
    examples = lines[: lines.index("")]
    assert 2 <= len(examples) <= 3
    assert all("yolo-attn" in line for line in examples)
    assert len(max([summary, *examples], key=len)) <= 100
    assert "usage: yolo-attn" in lines[len(examples) + 1]


@pytest.mark.parametrize("example", OWN, ids=lambda line: line[:50])
def test_an_example_of_a_verb_parses(example):
    arguments, trailing = own_parser().parse_known_args(words_of(example))
    words = trailing + (arguments.models if arguments.run is own.compare else [])
    settings = key_values([word for word in words if "=" in word])
    if "block" in arguments:
        check_spelling(arguments.block, settings)
    else:
        assert set(settings) <= set(host_words.arguments())
    assert not [word for word in trailing if word.startswith("-")]


@pytest.mark.parametrize("example", sorted(set(ALL) - set(OWN)), ids=lambda line: line[:50])
def test_an_example_of_ultralytics_commands_is_understood(example, capsys):
    if example.startswith("eval"):
        assert '"$(yolo-attn completion bash)"' in example
        return
    words = words_of(example)
    known = {**host_words.arguments(), "init": 0}
    flags = {"--json", "--no-check"} if words[0] == "export" else set()
    given = [word for word in words[1:] if word not in flags]
    assert host_words.special_command([words[0], *given]) is None
    assert {word.partition("=")[0] for word in given} <= set(known)


def test_models_of_the_examples_exist():
    known = {*shipped_models(), *(file.name for file in host_model_files())}
    for example in ALL:
        inputs = re.sub(r"-o \S+", "", example)
        for name in re.findall(r"\byolo[v\d]\w*[\w-]*\.yaml", inputs):
            assert unscaled(name) in known, example


def test_every_command_has_examples():
    assert set(EXAMPLES) == set(cli.VERBS) == set(verb_parsers())
    assert set(HOST_EXAMPLES) == set(host_words.modes())
    for verb, lines in {**EXAMPLES, **{mode: lines for mode, (_, *lines) in HOST_EXAMPLES.items()}}.items():
        assert all(f"yolo-attn {verb}" in line for line in lines)
