# Starts the agent on a host, as `/bin/sh -c <this file> deploy SHA256 ROOT LOADER MODE`.
# What it finds goes to the controller as a marker: NUL "deploy:" word newline. No quote but the double
# one and no exclamation mark, so that every login shell passes it on unharmed.
sha=$1 root=$2 loader=$3 mode=$4
mark() { printf "\\000deploy:%s\\n" "$1"; exit 69; }
umask 077
if [ -z "$root" ]; then
  if [ "$(id -u)" = 0 ]; then root=/var/lib/deploy; else root=${HOME:-/nonexistent}/.local/share/deploy; fi
fi
command -v python3 >/dev/null 2>&1 || mark no-python
bundle=$root/agent-$sha.pyz
if [ "$mode" = ship ]; then true
elif [ -r "$bundle" ]; then exec python3 -IS "$bundle" serve --root "$root"
elif [ "$mode" = look ]; then mark absent; fi
exec python3 -IS -c "$loader" "$root" "$sha"
