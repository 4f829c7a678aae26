# What the scripts that build something out of Debian packages share. Sourced, never run.
#
# Both the test hosts' root file system and the stand-in for the base image are bookworm, whose Python is 3.11:
# the version that deploy/image/requirements.lock is resolved for. A test host may be another Debian: MLKIT_SUITE=trixie.

suite=bookworm

fail() { # fail WHAT_HAPPENED [WHAT_TO_DO...]
  printf 'error: %s\n' "$1" >&2
  shift
  (($#)) && printf '  %s\n' "$@" >&2
  exit 1
}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

need() { # need COMMAND DEBIAN_PACKAGE
  command -v "$1" >/dev/null || fail "the command '$1' is missing" "install it: apt-get install $2"
}

cache_folder() { # shared by all clones on this machine, since what is built does not depend on the clone
  printf '%s/mlkit\n' "${XDG_CACHE_HOME:-$HOME/.cache}"
}

# Of the packages and the functions that make them into something, without their comments. A changed recipe gets
# a new name in the cache, and so never replaces what is in use.
recipe_digest() { # recipe_digest FUNCTION...
  # shellcheck disable=SC2154  # `packages` is the caller's
  { declare -p packages && declare -f bootstrap "$@"; } | sha256sum | cut -c1-12
}

# This machine's own mirror, security updates included, asked for the suite. On a machine that is no Debian
# it prints nothing, and mmdebstrap falls back on its default.
apt_sources() {
  local own
  own=$(awk -F= '$1 == "VERSION_CODENAME" { print $2 }' /etc/os-release)
  # shellcheck disable=SC2016  # the $(…) are apt's own placeholders
  apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    awk -v own="$own" -v suite="$suite" '$3 == own || index($3, own "-") == 1 { sub(own, suite, $3); print }' | sort -u
}

bootstrap() { # bootstrap TARGET [MMDEBSTRAP_OPTION...]: a minimal Debian without manuals and translations
  local target=$1 log=$1.log sources
  shift
  mapfile -t sources < <(apt_sources)
  mmdebstrap --quiet --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --dpkgopt='path-exclude=/usr/share/bug/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$@" "$suite" "$target" "${sources[@]}" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "mmdebstrap could not make $target" "its last lines are above; all of them: $log"; }
  rm "$log"
}
