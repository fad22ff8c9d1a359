"""Words of a command line to values, and what may come next in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from builder.core.commands import COMMANDS, DEFAULT, TOP
from builder.core.errors import UsageError
from builder.core.options import HELP, Argument, CommandRow, WordKind


def values_of(
    command: CommandRow, given: Mapping[str, Any], environ: Mapping[str, str]
) -> list[Struct]:
    """One value for each that the command takes, out of what was given for its fields.

    Raises:
        UsageError: an argument has a value that it cannot have, or not beside the others.

    """
    fields = {name: _frozen(value) for name, value in given.items() if value is not None}
    if command.has_targets:
        fields["targets"] = _targets(command, fields)
    for row in command.arguments:
        if row.variable is not None and not fields.get(row.field) and environ.get(row.variable):
            fields[row.field] = environ[row.variable]
        if row.field in fields:
            _check(row, fields)
    return [
        taken(**{name: fields[name] for name in taken.__struct_fields__ if name in fields})
        for taken in command.takes
    ]


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _check(row: Argument, fields: Mapping[str, Any]) -> None:
    if row.only_with is not None and not fields.get(row.only_with[0]):
        raise UsageError(row.only_with[1])
    value = fields[row.field]
    if row.limit is not None and not row.limit.allows(value):
        shown = f"{value:g}" if isinstance(value, float) else value
        raise UsageError(f"{row.words[0]} {shown}: {row.limit.text}")


def _targets(command: CommandRow, fields: Mapping[str, Any]) -> tuple[str, ...]:
    targets: tuple[str, ...] = fields["targets"]
    if not targets and not fields.get("retry_failed"):
        if command.target_required:
            raise UsageError(
                "no target given",
                hint="`ocbuild all` builds everything, `ocbuild list` shows what there is",
            )
        return ("all",)
    first = targets[0] if targets else ""
    if first in COMMANDS and first != command.name:
        raise UsageError(
            f'"{first}" is a command, and a command comes first', hint=f"`ocbuild {first} …`"
        )
    return targets


# --- completion ---------------------------------------------------------------------------------


class Candidate(Struct, frozen=True):
    """A word that fits, and what it means."""

    word: str
    meaning: str = ""

    def __str__(self) -> str:
        return f"{self.word}\t{self.meaning}" if self.meaning else self.word


# The words of a kind that begin so.
KnownWords = Callable[[WordKind, str], Sequence[Candidate]]
FILES = Candidate(":files")


def complete(words: Sequence[str], known: KnownWords) -> list[Candidate]:
    """What the last of ``words`` may become; the others are complete. FILES: any file fits, too."""
    *before, current = words or [""]
    place = _Cursor(TOP)
    for word in before:
        place = place.after(word)
    fitting = [
        candidate
        for candidate in place.candidates(current, known)
        if candidate is FILES or candidate.word.startswith(current)
    ]
    return list({candidate.word: candidate for candidate in fitting}.values())


class _Cursor(Struct, frozen=True):
    """Between two words: whose arguments come next, what it has had, and what wants a value."""

    command: CommandRow
    operands: int = 0
    pending: Argument | None = None
    # After a double dash nothing is an option.
    plain: bool = False
    # The second words that the name of the command may go on with.
    second_words: Mapping[str, CommandRow] = {}

    def after(self, word: str) -> _Cursor:
        if word in self.second_words:
            return _Cursor(self.second_words[word])
        place = self._after(word)
        # A command that runs by itself takes all other words as its arguments.
        return replace(place, second_words={}) if self.command.run else place

    def _after(self, word: str) -> _Cursor:
        if self.pending is not None:
            return replace(self, pending=None)
        if word.startswith("-") and not self.plain:
            row = self.command.option(word)
            wants = row is not None and row.const is None and "=" not in word
            return replace(self, pending=row if wants else None, plain=word == "--")
        if self.command is not TOP:
            return replace(self, operands=self.operands + 1)
        if word in COMMANDS:
            return _Cursor(COMMANDS[word], second_words=_second_words(word))
        return _Cursor(DEFAULT, operands=1)

    def candidates(self, current: str, known: KnownWords) -> Iterator[Candidate]:
        if self.pending is not None:
            yield from _values(self.pending, current, known)
        elif current.startswith("-") and not self.plain:
            yield from _options(self.command, current, known)
        elif self.command is TOP:
            yield from _commands(
                {name: command for name, command in COMMANDS.items() if " " not in name}
            )
            yield from known(WordKind.TARGET, current)
        else:
            yield from _commands(self.second_words)
            row = self.command.operand(self.operands)
            if row is not None:
                yield from _values(row, current, known)


def _second_words(first: str) -> dict[str, CommandRow]:
    start = f"{first} "
    return {
        name.removeprefix(start): command
        for name, command in COMMANDS.items()
        if name.startswith(start)
    }


def _commands(commands: Mapping[str, CommandRow]) -> Iterator[Candidate]:
    for name, command in commands.items():
        yield Candidate(name, command.summary.partition(";")[0])


def _options(command: CommandRow, current: str, known: KnownWords) -> Iterator[Candidate]:
    word, equals, value = current.partition("=")
    if not equals:
        for row in (HELP, *command.arguments):
            for name in row.words:
                if name.startswith("--"):
                    yield Candidate(name, row.meaning)
        return
    option = command.option(word)
    for candidate in () if option is None else _values(option, value, known):
        joined = Candidate(f"{word}={candidate.word}", candidate.meaning)
        yield FILES if candidate is FILES else joined


def _values(row: Argument, current: str, known: KnownWords) -> Iterator[Candidate]:
    if row.choices is not None:
        yield from map(Candidate, row.choices)
    elif row.offers is WordKind.FILE:
        yield FILES
    elif row.offers is not None:
        yield from known(row.offers, current)


# What each shell is told: it asks `ocbuild __complete WORDS…`, and gets one candidate in a line.
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
