# shellcheck shell=bash
# What scripts/demo and scripts/bench share: mounts, loop devices and processes under one temporary
# directory, and how all of them go away again. To be sourced.

export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

# Waits until a command succeeds.  within SECONDS COMMAND...
within() {
    local deadline=$((${EPOCHREALTIME%[.,]*} + $1))
    shift
    until "$@"; do
        [ "${EPOCHREALTIME%[.,]*}" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# Mount points at or below a path, deepest first.
mounts_below() {
    awk -v top="$1" '{ gsub(/\\040/, " ", $5) }
        $5 == top || index($5, top "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r
}

is_mounted() { [ -n "$(mounts_below "$1")" ]; }
is_unmounted() { ! is_mounted "$1"; }

# Loop devices whose file lies below a path. After a lazy unmount of what holds the file its path is
# cut short, so ask before.
loops_below() {
    losetup --list --noheadings --output NAME,BACK-FILE |
        awk -v top="$1/" '{ name = $1; sub(/^[^ ]+ +/, "") } index($0, top) == 1 { print name }'
}

# is_detached /dev/loopN
is_detached() { [ ! -e "/sys/block/${1#/dev/}/loop/backing_file" ]; }

# Processes that run this very program and name this path in their command line.
# pids_of PROGRAM PATH
pids_of() {
    local program directory
    program=$(readlink -f "$1")
    for directory in /proc/[0-9]*; do
        [ "$(readlink "$directory/exe" 2>/dev/null)" = "$program" ] || continue
        tr '\0' '\n' <"$directory/cmdline" 2>/dev/null | grep -qF -- "$2" || continue
        echo "${directory#/proc/}"
    done
}

# A process that has ended but was not waited for yet counts as gone.
is_gone() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
    case $state in '' | Z | X) return 0 ;; *) return 1 ;; esac
}

# The value of one line of a mount's statistics file; empty when there is no such line.
# stat_value MOUNT NAME
stat_value() { awk -v name="$2" '$1 == name { print $2; exit }' "$1/stats" 2>/dev/null; }

# Takes down everything below the directory and removes it, whatever state it is in.
# remove_all DIRECTORY PROGRAM...
remove_all() {
    local top=$1 program item loops
    shift
    mapfile -t loops < <(loops_below "$top")
    while read -r item; do umount -l "$item" 2>/dev/null || true; done < <(mounts_below "$top")
    for item in "${loops[@]}"; do losetup -d "$item" 2>/dev/null || true; done
    for program in "$@"; do
        while read -r item; do
            kill -9 "$item" 2>/dev/null || true
            within 10 is_gone "$item" || echo "process $item does not end" >&2
        done < <(pids_of "$program" "$top")
    done
    for item in "${loops[@]}"; do
        within 10 is_detached "$item" || echo "still attached: $item" >&2
    done
    # A mount that would not go must not be emptied.
    if is_mounted "$top"; then
        echo "still mounted: $(mounts_below "$top" | tr '\n' ' '); $top stays" >&2
        return 1
    fi
    rm -rf --one-file-system "$top"
}
