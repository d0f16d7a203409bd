# Shared by the other scripts, which source it. Leaves the shell in the
# repository's root directory.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || return

# The tests need no version stamp, and asking git for one fails where the
# checkout belongs to another user.
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"

# files PATTERN lists what git tracks or would track, so that work in progress
# counts. An unpacked archive has no git; there find has to do.
files() {
  { git ls-files -co --exclude-standard -- "$1" 2>/dev/null ||
    find . -name node_modules -prune -o -name "${1##*/}" -type f -printf '%P\n'; } |
    while read -r f; do if [ -e "$f" ]; then printf '%s\n' "$f"; fi; done | sort -u
}

# modules lists the directories of the Go modules. js/ has a go.mod only to stay
# out of the root module's zip.
modules() {
  files '*go.mod' | grep -v '^js/' | xargs -r -n 1 dirname | LC_ALL=C sort
}
