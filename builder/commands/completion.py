"""What may come next on a command line, for the completion of shells: read off the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace


class Kind(Enum):
    """What a word names, where that is not a fixed choice."""

    TARGET = "target"
    STACK = "stack"
    HOST = "host"
    RELEASE = "release"
    FILE = "file"


# By the name of a positional argument, or of an option; the rest is told by choices and types.
_KINDS = {
    "targets": Kind.TARGET,
    "--exclude": Kind.TARGET,
    "stacks": Kind.STACK,
    "hosts": Kind.HOST,
    "--host": Kind.HOST,
    "--release": Kind.RELEASE,
    "tag": Kind.RELEASE,
    "old": Kind.RELEASE,
    "new": Kind.RELEASE,
}
DEFAULT_COMMAND = "build"


class Candidate(Struct, frozen=True):
    """A word that fits, and what it means."""

    word: str
    meaning: str = ""

    def __str__(self) -> str:
        return f"{self.word}\t{self.meaning}" if self.meaning else self.word


# The words of a kind that begin so.
Known = Callable[[Kind, str], Sequence[Candidate]]
FILES = Candidate(":files")


def complete(
    parser: argparse.ArgumentParser, words: Sequence[str], known: Known
) -> list[Candidate]:
    """What the last of ``words`` may become; the others are complete. FILES: any file fits, too."""
    *before, current = words or [""]
    place = _Place(parser, ())
    for word in before:
        place = place.after(word)
    found = list(place.candidates(current, known))
    fitting = [one for one in found if one is FILES or one.word.startswith(current)]
    return list({one.word: one for one in fitting}.values())


class _Place(Struct, frozen=True):
    """Between two words: which parser reads on, what it has had, and what wants a value."""

    parser: argparse.ArgumentParser
    had: tuple[str, ...]
    pending: argparse.Action | None = None
    plain: bool = False
    # The second words of commands that have two, where the first of them is a command by itself.
    seconds: Mapping[str, argparse.ArgumentParser] = field(default_factory=dict)

    def after(self, word: str) -> _Place:
        if word in self.seconds:
            return _Place(self.seconds[word], ())
        return replace(self._after(word), seconds={}) if self.seconds else self._after(word)

    def _after(self, word: str) -> _Place:
        if self.pending is not None:
            return replace(self, pending=None)
        if word.startswith("-") and not self.plain:
            action = _option(self.parser, word)
            wants = action is not None and action.nargs != 0 and "=" not in word
            return replace(self, pending=action if wants else None, plain=word == "--")
        commands = _commands(self.parser)
        if commands is None:
            return replace(self, had=(*self.had, word))
        if word in commands.choices:
            start = f"{word} "
            seconds = {
                name.removeprefix(start): parser
                for name, parser in commands.choices.items()
                if name.startswith(start)
            }
            return _Place(commands.choices[word], (), seconds=seconds)
        if DEFAULT_COMMAND in commands.choices:
            return _Place(commands.choices[DEFAULT_COMMAND], (word,))
        return self

    def candidates(self, current: str, known: Known) -> Iterator[Candidate]:
        if self.pending is not None:
            yield from _values(self.pending, current, known)
            return
        if current.startswith("-") and not self.plain:
            yield from self._of_options(current, known)
            return
        commands = _commands(self.parser)
        if commands is None:
            for second, parser in self.seconds.items():
                yield Candidate(second, (parser.description or "").partition(";")[0])
            positional = _positional(self.parser, len(self.had))
            if positional is not None:
                yield from _values(positional, current, known)
            return
        for choice in commands._choices_actions:  # noqa: SLF001 - argparse tells it nowhere else
            if " " not in choice.dest:
                yield Candidate(choice.dest, (choice.help or "").partition(";")[0])
        if DEFAULT_COMMAND in commands.choices:
            # Whose name may be left out.
            yield from known(Kind.TARGET, current)

    def _of_options(self, current: str, known: Known) -> Iterator[Candidate]:
        option, equals, value = current.partition("=")
        if not equals:
            yield from _options(self.parser)
            return
        action = _option(self.parser, option)
        for one in () if action is None else _values(action, value, known):
            joined = Candidate(f"{option}={one.word}", one.meaning)
            yield FILES if one is FILES else joined


def _commands(
    parser: argparse.ArgumentParser,
) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return action
    return None


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    name = word.partition("=")[0]
    return next(
        (action for action in parser._actions if name in action.option_strings),  # noqa: SLF001
        None,
    )


def _options(parser: argparse.ArgumentParser) -> Iterator[Candidate]:
    for action in parser._actions:  # noqa: SLF001
        if action.help is not argparse.SUPPRESS:
            for name in action.option_strings:
                if name.startswith("--"):
                    yield Candidate(name, _meaning(action))


def _positional(parser: argparse.ArgumentParser, number: int) -> argparse.Action | None:
    """The argument that the word with this number would be."""
    at = 0
    for action in parser._actions:  # noqa: SLF001
        if action.option_strings:
            continue
        if action.nargs in ("*", "+", argparse.REMAINDER) or at == number:
            return action
        at += 1
    return None


def _values(action: argparse.Action, current: str, known: Known) -> Iterator[Candidate]:
    if action.choices is not None:
        yield from (Candidate(str(choice)) for choice in action.choices)
        return
    for name in (action.dest, *action.option_strings):
        if name in _KINDS:
            yield from known(_KINDS[name], current)
            return
    if action.type is Path:
        yield FILES


def _meaning(action: argparse.Action) -> str:
    """The start of the help, which is enough to choose by."""
    return (action.help or "").partition(" (")[0].partition(";")[0].replace("%%", "%")


SCRIPTS: Mapping[str, str] = {
    "bash": """\
# ocbuild completion bash > /etc/bash_completion.d/ocbuild, or: eval "$(ocbuild completion bash)"
_ocbuild() {
    # bash splits words at ":" and "=", and ocbuild does not.
    local line=${COMP_LINE:0:COMP_POINT} cur prefix one
    local -a words=()
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cur=${words[${#words[@]} - 1]}
    prefix=${cur%"${cur##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r one; do
        if [[ $one == :files ]]; then
            compopt -o filenames
            while IFS= read -r one; do COMPREPLY+=("$one"); done \\
                < <(compgen -f -- "${cur#"$prefix"}")
        else
            one=${one%%$'\\t'*}
            COMPREPLY+=("${one#"$prefix"}")
        fi
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -F _ocbuild ocbuild
""",
    "zsh": """\
#compdef ocbuild
# ocbuild completion zsh > a folder of $fpath, as _ocbuild; or: eval "$(ocbuild completion zsh)"
_ocbuild() {
    local one
    local -a found
    for one in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $one == :files ]]; then
            _files
        elif [[ -n $one ]]; then
            found+=("${${one%%$'\\t'*}//:/\\\\:}:${one#*$'\\t'}")
        fi
    done
    (( $#found )) && _describe ocbuild found
}
if [[ $funcstack[1] == _ocbuild ]]; then
    _ocbuild "$@"
else
    compdef _ocbuild ocbuild
fi
""",
    "fish": """\
# ocbuild completion fish > ~/.config/fish/completions/ocbuild.fish
function __ocbuild_complete
    set -l before (commandline --cut-at-cursor --tokenize --current-process)
    set -l current (commandline --cut-at-cursor --current-token)
    for one in ($before[1] __complete $before[2..] "$current" 2>/dev/null)
        if test "$one" = ":files"
            __fish_complete_path "$current"
        else
            echo -- $one
        end
    end
end
complete --command ocbuild --no-files --arguments '(__ocbuild_complete)'
""",
}
