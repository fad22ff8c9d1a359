# Shared by the set-up scripts: messages, logs, root's rights, the state folder.
# shellcheck shell=sh

say() {
	echo "==> $*"
}

# fail FACT [REMEDY]
fail() {
	echo "==> FAILED: $1" >&2
	if [ $# -gt 1 ]; then
		echo "    hint: $2" >&2
	fi
	exit 1
}

# logged NAME LOG COMMAND...: run quietly; on failure show the end of the log and return the code.
logged() {
	name=$1
	log=$2
	shift 2
	say "$name"
	mkdir -p "$(dirname "$log")" || return 1
	printf '\n%s  %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$log"
	start=$(wc -l <"$log")
	"$@" >>"$log" 2>&1 </dev/null
	code=$?
	if [ "$code" -ne 0 ]; then
		echo "==> FAILED: $name (returned $code); the end of $log:" >&2
		tail -n "+$((start + 1))" "$log" | tail -n 20 | sed 's/^/    /' >&2
	fi
	return "$code"
}

# As builder/system/files.py has it.
state_dir() {
	if [ -n "${OCBUILD_STATE:-}" ]; then
		echo "$OCBUILD_STATE"
	elif [ "$(id -u)" -eq 0 ]; then
		echo /var/lib/ocbuild
	else
		case ${XDG_STATE_HOME:-} in
		/*) echo "$XDG_STATE_HOME/ocbuild" ;;
		*) echo "$HOME/.local/state/ocbuild" ;;
		esac
	fi
}

can_be_root() {
	[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo -- "$@"
	fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@"
}

# os_field NAME: a field of /etc/os-release, or nothing.
os_field() {
	# shellcheck disable=SC1090,SC1091
	(. /etc/os-release 2>/dev/null && eval "echo \"\${$1:-}\"")
}
