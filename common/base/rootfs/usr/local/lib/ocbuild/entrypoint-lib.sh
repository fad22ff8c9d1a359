# shellcheck shell=sh
# Sourced by every entrypoint.sh. POSIX shell. The Dockerfile of each image names it in OCBUILD_IMAGE.
set -eu

log() {
    printf '%s: %s\n' "$OCBUILD_IMAGE" "$*" >&2
}

die() {
    log "$*"
    exit 64
}

# given NAME...: are all of these variables set? NAME_FILE may name a file that holds the value, as secrets are mounted.
given() {
    for _name in "$@"; do
        eval "_value=\${$_name:-} _file=\${${_name}_FILE:-}"
        if [ -z "$_value" ] && [ -n "$_file" ]; then
            [ -r "$_file" ] || die "${_name}_FILE: cannot read $_file"
            _value=$(cat "$_file")
            export "$_name=$_value"
        fi
        [ -n "$_value" ] || return 1
    done
}

# require NAME...: as given, but the lack of one is the end.
require() {
    for _required in "$@"; do
        given "$_required" || die "variable $_required (or ${_required}_FILE) is required, but not set"
    done
}

# default NAME VALUE: what a variable is if the caller left it unset or empty.
default() {
    given "$1" || export "$1=$2"
}

# writable PATH...: a volume that belongs to somebody else is better named here than by a trace of the service.
writable() {
    for _path in "$@"; do
        [ -w "$_path" ] || die "$_path is not writable for uid $(id -u); if it is mounted, chown it"
    done
}

# render FILE...: writes FILE from FILE.in, where {{NAME}} stands for the value of a variable. A filter fits the value to
# its place: {{NAME|oslo}} to an option that oslo.config would expand "$" in, {{NAME|quoted}} to a string in double quotes.
render() {
    for _target in "$@"; do
        # A subshell, for only what is rendered holds passwords: the service keeps its own umask.
        (umask 077 && LC_ALL=C awk -v image="$OCBUILD_IMAGE" "$_render" "$_target.in" > "$_target") || exit 64
    done
}

# shellcheck disable=SC2016 # awk's program, not ours
_render='
function fail(problem) {
    printf "%s: %s:%d: %s\n", image, FILENAME, FNR, problem > "/dev/stderr"
    exit 64
}
function filtered(value, filter) {
    if (filter == "oslo") gsub(/[$]/, "$$", value)
    else if (filter == "quoted") gsub(/["\\]/, "\\\\&", value)
    else if (filter != "") fail("no such filter: " filter)
    return value
}
{
    rest = $0
    out = ""
    while (match(rest, /[{][{][A-Z0-9_]+([|][a-z]+)?[}][}]/)) {
        split(substr(rest, RSTART + 2, RLENGTH - 4) "|", part, "|")
        if (!(part[1] in ENVIRON)) fail("variable " part[1] " is not set")
        out = out substr(rest, 1, RSTART - 1) filtered(ENVIRON[part[1]], part[2])
        rest = substr(rest, RSTART + RLENGTH)
    }
    print out rest
}'

# To tell its version a program needs no configuration.
case "${2:-}" in
    --version | --help) exec "$@" ;;
esac
