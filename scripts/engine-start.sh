# Starts the engine on this machine, whatever state the last one left behind. Sourced by
# setup-engine, which sets socket, pidfile, exec_root and wait_seconds.
# shellcheck shell=sh disable=SC2154

start_engine() {
	if ! can_be_root; then
		fail "an engine is installed but does not run" "start it as root, or run this as root"
	fi
	if pid_runs "$pidfile" dockerd; then
		say "dockerd (process $(cat "$pidfile")) is there already; waiting for it to answer"
		wait_for_engine "$(cat "$pidfile")" && return
		[ ! -S "$socket" ] || explain_no_answer
		fail "dockerd (process $(cat "$pidfile")) has not answered for $wait_seconds s" \
			"look at its log, or end it and run this again"
	fi
	if [ -d /run/systemd/system ] && [ -z "${OCBUILD_ENGINE_SOCKET:-}" ]; then
		start_by_systemd
	else
		start_by_hand
	fi
}

start_by_systemd() {
	say "start the engine: systemctl enable --now docker"
	as_root systemctl enable --now docker.service || {
		as_root journalctl --no-pager -n 20 -u docker.service | sed 's/^/    /' >&2
		fail "systemd could not start the engine (see above)" \
			"$(remedy "$(as_root journalctl --no-pager -n 50 -u docker.service)")"
	}
	wait_for_engine || explain_no_answer
}

start_by_hand() {
	folder=$(state_dir)/engine
	log=$folder/dockerd.log
	as_root mkdir -p "$folder"
	remove_remains
	say "start the engine in the background; its log is $log"
	# The redirections are made by root's shell, because log and folder are root's.
	# shellcheck disable=SC2016,SC2086 # expanded there; flags are words
	as_root sh -c 'log=$1 pid=$2; shift 2; setsid "$@" >>"$log" 2>&1 </dev/null & echo $! >"$pid"' \
		sh "$log" "$folder/dockerd.started" dockerd -H "unix://$socket" -p "$pidfile" \
		--exec-root "$exec_root" ${OCBUILD_ENGINE_FLAGS:-}
	wait_for_engine "$(cat "$folder/dockerd.started")" && return
	said=$(last_words "$log")
	echo "==> FAILED: start the engine; the end of $log:" >&2
	echo "$said" | sed 's/^/    /' >&2
	if [ -d "/proc/$(cat "$folder/dockerd.started")" ]; then
		fail "dockerd did not answer within $wait_seconds s; it still runs" "$(remedy "$said")"
	fi
	fail "dockerd ended as soon as it was started" "$(remedy "$said")"
}

# The last 20 lines of this start, without the chatter, if there is anything else.
last_words() {
	started=$(sed -n '/msg="Starting up"/=' "$1" | tail -n 1)
	tail -n "+${started:-1}" "$1" | grep -v 'level=info' | tail -n 20 | grep . || tail -n 20 "$1"
}

# wait_for_engine [PID]: whether it answers within the time; no longer than its process lives.
wait_for_engine() {
	left=$((wait_seconds * 5))
	while [ "$left" -gt 0 ]; do
		if version=$(engine_version) && [ -n "$version" ]; then
			return 0
		fi
		if [ -n "${1:-}" ] && [ ! -d "/proc/$1" ]; then
			return 1
		fi
		sleep 0.2
		left=$((left - 1))
	done
	return 1
}

# pid_runs FILE PROGRAM: whether the process that the pid file names is that program. After a reboot
# the number may be another's, and dockerd would take it for an engine that runs.
pid_runs() {
	[ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]
}

remove_remains() {
	remove_pid_file "$pidfile" dockerd
	remove_pid_file "$exec_root/containerd/containerd.pid" containerd
	# dockerd would wait in vain for an answer at either of these.
	remove_socket "$exec_root/containerd/containerd.sock"
	if [ -z "${OCBUILD_ENGINE_SOCKET:-}" ]; then
		remove_socket /run/containerd/containerd.sock
	fi
	remove_socket "$socket"
	# docker run -v /var/run/docker.sock:... makes a folder of it where there is no engine.
	if [ -d "$socket" ]; then
		say "remove the folder $socket, which is in the place of the engine's socket"
		as_root rmdir "$socket"
	fi
}

remove_pid_file() {
	if [ -e "$1" ] && ! pid_runs "$1" "$2"; then
		say "remove $1: the $2 that it names is gone"
		as_root rm -f "$1"
	fi
}

remove_socket() {
	# /var/run is /run, and either name may have been used to listen, or to mount.
	places=" /var/run/${1#*/run/}| /run/${1#*/run/}| $1"
	if [ -S "$1" ] && ! cat /proc/net/unix /proc/self/mountinfo | grep -qE "($places)( |\$)"; then
		say "remove $1: nobody listens there any more"
		as_root rm -f "$1"
	fi
}

# remedy TEXT: what is likely to help against what dockerd said last.
remedy() {
	case $1 in
	*"ermission denied"* | *"not permitted"*) echo "this machine forbids it, as unprivileged containers \
do: use an engine elsewhere by DOCKER_HOST" ;;
	*iptables*) echo "its firewall rules could not be set: try \`update-alternatives --set iptables \
/usr/sbin/iptables-legacy\`, or load the kernel modules ip_tables and iptable_nat" ;;
	*"no space left"*) echo "the disk is full: make room in /var/lib/docker" ;;
	*[Cc]groups*) echo "control groups are not mounted: apt-get install cgroupfs-mount, and run it" ;;
	*"process with PID"*) echo "another dockerd uses the same pid file: end it, or use it by DOCKER_HOST" ;;
	*"address already in use"*) echo "another program has the engine's address: end it" ;;
	*"storage-driver"* | *"driver not supported"* | *graphdriver* | *overlay*) echo "its file system \
cannot hold images: keep /var/lib/docker on ext4 or xfs, or set OCBUILD_ENGINE_FLAGS=--storage-driver=vfs" ;;
	*) echo "run dockerd by hand to see more, or use an engine elsewhere by DOCKER_HOST" ;;
	esac
}
