# What has to be installed for the engine, and from where. Sourced by setup-engine.
# shellcheck shell=sh

apt_sources=/etc/apt/sources.list.d/ocbuild-trixie.sources
apt_preferences=/etc/apt/preferences.d/ocbuild-trixie

# missing engine|beside: Debian's names of the packages that this machine lacks; "beside" is for a
# machine whose engine answers already.
missing() {
	if [ "$1" = engine ]; then
		command -v dockerd >/dev/null 2>&1 || echo docker.io containerd runc
		command -v iptables >/dev/null 2>&1 || [ -x /usr/sbin/iptables ] || echo iptables
	fi
	if ! command -v docker >/dev/null 2>&1; then
		echo docker-cli docker-buildx docker-compose
	else
		docker buildx version >/dev/null 2>&1 || echo docker-buildx
		docker compose version >/dev/null 2>&1 || echo docker-compose
	fi
	command -v docker-registry >/dev/null 2>&1 || echo docker-registry
	command -v mmdebstrap >/dev/null 2>&1 || echo mmdebstrap
}

# install_missing engine|beside: with an engine that answers, what cannot be installed is no
# failure: ocbuild does without it, in ways that `ocbuild doctor` explains.
install_missing() {
	# shellcheck disable=SC2046,SC2005 # words, on one line
	packages=$(echo $(missing "$1"))
	if [ -z "$packages" ]; then
		return
	fi
	if ! command -v apt-get >/dev/null 2>&1; then
		cannot_install "$1" "this is no Debian, so install what corresponds to: $packages"
		return
	fi
	if ! can_be_root; then
		cannot_install "$1" "run this as root, or as root: apt-get install $packages"
		return
	fi
	install_packages "$1" || cannot_install "$1" "apt could not install: $packages (see above)"
}

cannot_install() {
	if [ "$1" = engine ]; then
		fail "there is no Docker Engine on this machine" "$2"
	fi
	say "not everything that goes with the engine is here: $2"
}

install_packages() {
	log=$(state_dir)/setup-engine.log
	[ "$(id -u)" -eq 0 ] || log=.ocbuild/setup-engine.log
	suffix=
	origin=$(os_field PRETTY_NAME)
	if needs_trixie; then
		suffix=/trixie
		origin="Debian 13 (trixie), by the archives that this machine uses already"
	fi
	say "will install $packages; from: $origin"
	trap remove_trixie EXIT
	trap 'exit 130' INT TERM
	if [ -n "$suffix" ]; then
		add_trixie || return 1
	fi
	# One broken repository among many is no reason to give up: the installation will tell.
	logged "update the list of packages" "$log" apt_get update || true
	registry_stays_off before
	# Nothing is removed: an engine of another origin would be.
	# shellcheck disable=SC2046,SC2086 # words
	logged "install $packages" "$log" \
		apt_get install --no-install-recommends --no-remove $(in_suite "$suffix" $packages)
	code=$?
	registry_stays_off after
	remove_trixie
	trap - EXIT INT TERM
	return "$code"
}

# Debian before 13 has no docker-cli, no buildx and an old engine.
needs_trixie() {
	[ "$(os_field ID)" = debian ] || return 1
	case $(os_field VERSION_ID) in
	10 | 11 | 12) return 0 ;;
	*) return 1 ;;
	esac
}

# in_suite SUFFIX PACKAGE...: the names as this distribution has them. What Debian 12 has in a
# version that will do is not taken from trixie.
in_suite() {
	suffix=$1
	shift
	for package; do
		case $(os_field ID)/$package in
		ubuntu/docker-compose) echo docker-compose-v2 ;;
		ubuntu/docker-cli) echo docker.io ;;
		*/iptables | */runc | */mmdebstrap) echo "$package" ;;
		*) echo "$package$suffix" ;;
		esac
	done
}

add_trixie() {
	entries=$(PYTHONPATH=$PWD PYTHONDONTWRITEBYTECODE=1 python3 scripts/apt_sources.py trixie) || {
		say "this machine's apt sources name no archive of Debian $(os_field VERSION_CODENAME)"
		return 1
	}
	echo "$entries" | as_root tee "$apt_sources" >/dev/null &&
		for suite in trixie trixie-updates trixie-security; do
			printf 'Package: *\nPin: release n=%s\nPin-Priority: 50\n\n' "$suite"
		done | as_root tee "$apt_preferences" >/dev/null
}

remove_trixie() {
	if [ -e "$apt_sources" ] || [ -e "$apt_preferences" ]; then
		as_root rm -f "$apt_sources" "$apt_preferences"
		# Of the lists, those of trixie alone are dropped.
		logged "take trixie out of apt's sources again" "$log" apt_get update || true
	fi
}

# registry_stays_off before|after: Debian starts its registry for all the world with a password that
# nobody knows, at the very port that ocbuild's own would use.
registry_stays_off() {
	case " $packages " in
	*" docker-registry "*) ;;
	*) return 0 ;;
	esac
	if [ -d /run/systemd/system ]; then
		if [ "$1" = before ]; then
			logged "keep the packaged registry from starting" "$log" \
				as_root systemctl mask docker-registry.service || true
		else
			as_root systemctl unmask docker-registry.service >>"$log" 2>&1 || true
			as_root systemctl disable docker-registry.service >>"$log" 2>&1 || true
		fi
	elif [ "$1" = after ] && [ -x /etc/init.d/docker-registry ]; then
		as_root /etc/init.d/docker-registry stop >>"$log" 2>&1 || true
		as_root update-rc.d docker-registry disable >>"$log" 2>&1 || true
	fi
}
