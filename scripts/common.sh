# shellcheck shell=sh
# Sourced by the scripts: the repository's root as working directory, and the few variables that tools need even in an empty environment.
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
LC_ALL=C.UTF-8
export PATH HOME LC_ALL
cd "$(dirname "$0")/.." || exit 1

say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
	say "$*"
	exit 1
}
