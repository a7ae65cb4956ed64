# Set-up that run, test, bench and matryoshka share. Sourced with `root` set to the top of the tree.
#
# As root, missing packages are installed. As anybody else nothing is changed: one line says what root is to run.

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { complain "$*"; exit 1; }

# --- Debian packages -----------------------------------------------------------

list_packages() { sed 's/#.*//' "$@" | xargs -n 1; }

missing_packages() {  # FILE...
  local wanted installed name
  wanted=$(list_packages "$@" | LC_ALL=C sort -u)
  installed=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  *//p' | LC_ALL=C sort -u)
  # A command of that name from elsewhere, such as a newer npm, is as good.
  for name in $(LC_ALL=C comm -23 <(printf '%s\n' "$wanted") <(printf '%s\n' "$installed")); do
    command -v "$name" >/dev/null || printf '%s\n' "$name"
  done | xargs
}

# apt through a mirror's bad moments: lists that change while they are read mend themselves in a minute.
patient_apt() {
  local try log
  log=$(mktemp)
  for try in 1 2 3 4 5; do
    if DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" 2>&1 | tee "$log" | show_apt; then
      # apt-get update counts stale lists as a success.
      grep -q 'Mirror sync in progress\|Hash Sum mismatch' "$log" || { rm -f "$log"; return 0; }
    elif ! grep -q 'Mirror sync in progress\|Hash Sum mismatch\|Temporary failure\|Connection failed\|404  *Not Found' "$log"; then
      tail -n 5 "$log" >&2
      rm -f "$log"
      return 1
    fi
    say "  the Debian mirror is changing just now; once more in $((try * 15)) seconds"
    sleep $((try * 15))
    apt-get -q update >/dev/null 2>&1 || true
  done
  tail -n 5 "$log" >&2
  rm -f "$log"
  return 1
}

# On a terminal one changing line, else every twentieth package.
show_apt() {
  local line count=0
  while IFS= read -r line; do
    case $line in Get:* | Unpacking* | 'Setting up'*) ;; *) continue ;; esac
    count=$((count + 1))
    if [[ -t 1 ]]; then printf '\r\033[K  %.70s' "$line"; elif ((count % 20 == 0)); then say "  $line"; fi
  done
  if [[ -t 1 ]]; then printf '\r\033[K'; fi
}

need_packages() {  # FILE...
  local missing
  missing=$(missing_packages "$@")
  [[ -n $missing ]] || return 0
  if ((EUID != 0)); then
    complain "Debian packages are missing. As root:"
    say "apt-get install -y --no-install-recommends $missing"
    exit 1
  fi
  say 'Looking at what Debian has'
  patient_apt update || die 'apt-get update failed; look at the connection and at /etc/apt/sources.list.'
  local plan
  # shellcheck disable=SC2086
  plan=$(LC_ALL=C apt-get install --assume-no --no-install-recommends $missing 2>&1 | grep -E '^(Need to get|After this operation)' || true)
  say "Installing: $missing"
  [[ -z $plan ]] || sed 's/^/  /; s/ \[.*//' <<<"$plan"
  # shellcheck disable=SC2086
  patient_apt install -y --no-install-recommends $missing ||
    die 'apt-get install failed; what it said stands above. Run this again once that is mended.'
  missing=$(missing_packages "$@")
  [[ -z $missing ]] || die "apt-get left these out: $missing."
}

# --- Packages from npm ---------------------------------------------------------

npm_wanted() {  # run|test: what node_modules is to hold
  printf '%s %s\n' "$1" "$(cat "$root/package.json" "$root/package-lock.json" | sha256sum)"
}

need_npm() {  # run|test
  local stamp=$root/node_modules/.matryoshka have=''
  [[ ! -f $stamp ]] || have=$(<"$stamp")
  # What the tests have is enough to run.
  if [[ $have == "$(npm_wanted "$1")" || $have == "$(npm_wanted test)" ]]; then return 0; fi
  local arguments=(ci --no-fund --no-audit --loglevel=error)
  [[ $1 == test ]] || arguments+=(--omit=dev)
  say 'Fetching xterm.js and a current Node from npm (about 60 MB)'
  (cd "$root" && npm "${arguments[@]}") || die 'npm could not fetch the packages; look at the connection and run this again.'
  npm_wanted "$1" >"$stamp"
}

# The Node for tools, tests and the machine. Debian 12's own is too old.
find_node() {  # sets node
  local own
  for own in "$root"/node_modules/node-linux-*/bin/node; do
    if [[ -x $own ]]; then node=$own; return 0; fi
  done
  if command -v node >/dev/null && (($(node -p 'process.versions.node.split(".")[0]') >= 22)); then
    node=$(command -v node)
    return 0
  fi
  return 1
}

# --- Building ------------------------------------------------------------------

# One build at a time in a tree.
lock_build() {
  mkdir -p "$root/build"
  exec {build_lock}>"$root/build/.lock"
  flock -n "$build_lock" || { say 'Waiting for another build of this tree'; flock "$build_lock"; }
}
unlock_build() { exec {build_lock}>&-; }

cmake_build() {  # PRESET TARGET...
  local preset=$1 log=$root/build/$1.log
  shift
  (
    cd "$root"
    if [[ ! -f build/$preset/build.ninja ]]; then
      cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; die "cmake could not set up build/$preset."; }
    fi
    show_ninja "$log" cmake --build --preset "$preset" --target "$@" || die "the $preset build failed; the log is build/$preset.log."
  )
}

show_ninja() {  # LOG COMMAND...
  local log=$1 line count total last=0
  shift
  if [[ -t 1 ]]; then
    "$@" 2>&1 | tee "$log" | while IFS= read -r line; do
      case $line in \[*) printf '\r\033[K  %.70s' "$line" ;; *) printf '\r\033[K%s\n' "$line" ;; esac
    done
    local status=${PIPESTATUS[0]}
    printf '\r\033[K'
    return "$status"
  fi
  "$@" 2>&1 | tee "$log" | while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
      count=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]}
      # Every tenth part of the way.
      if ((count * 10 / total != last)); then last=$((count * 10 / total)); say "  $line"; fi
    else
      say "$line"
    fi
  done
  return "${PIPESTATUS[0]}"
}

build_wasm() {
  say 'Building the machine as WebAssembly'
  cmake_build wasm core
}

build_native() {  # TARGET...
  say 'Building the native machine'
  cmake_build native "${@:-matryoshka}"
}

build_guest() {  # TARGET...
  say 'Building the guest (kernel and programs); kept in the cache for the next time'
  "$root/guest/build" --out "$root/build/guest" "$@" >"$root/build/guest.log" ||
    die 'the guest could not be built; what went wrong stands above.'
}

build_page() {
  find_node || die 'Node is missing; ./run --build installs it.'
  "$node" "$root/web/build.mjs"
}
