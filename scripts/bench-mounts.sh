# shellcheck shell=bash
# The single runs of scripts/bench, which sets the variables used here and has sourced lib.sh.

: "${size_mb:?}" "${seconds:?}" "${delay_ms:?}" "${top:?}" "${jobs[*]:?}"
block_kb=64
bucket=$top/s3/bucket
# What a program is started through.
wrapped=()

name_of() { # side
    case $1 in ours) echo "$OURS" ;; s3backer) echo "$PARTNER" ;; null) echo "$NULLMOUNT" ;; esac
}

now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# Microseconds of processor time that a process has used.
cpu_us() { # pid
    awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%d", ($12 + $13) * 1e6 / hertz }' \
        "/proc/$1/stat"
}

everything_uploaded() { # mount
    case $(stat_value "$1" block_cache_dirty_ratio) in
        '' | *[!0.]*) return 1 ;;
    esac
}

fio_run() { # job file result
    # A quarter as many random reads over S3 as there are blocks, of 4 KiB.
    TARGET=$2 SIZE=${size_mb}m RUNTIME=${seconds}s COUNT=$((size_mb * 1024 / block_kb))k \
        fio --output-format=json --output="$3" "Benchmarks/$1.fio" || {
        cat "$3" >&2
        fail "fio failed"
    }
}

# Appends "job side unit number" to the results.
note() { echo "$*" >>"$top/results"; }

note_fio() { # job side result
    python3 - "$1" "$2" "$3" >>"$top/results" <<'PYTHON'
import json, sys
job, side, path = sys.argv[1:]
text = open(path).read()
found = json.loads(text[text.index("{"):])["jobs"][0]
part = found["read" if "read" in job else "write"]
is_sequential = "-1m" in job
print(job, side, "MB/s" if is_sequential else "io/s",
      part["bw_bytes"] / 1e6 if is_sequential else part["iops"])
PYTHON
}

# Starts a program in the foreground and waits for its file; sets `pid`.
start_mount() { # directory program arguments...
    local dir=$1
    shift
    "$@" >>"$dir/log" 2>&1 &
    pid=$!
    within 30 test -e "$dir/mnt/file" || {
        cat "$dir/log" >&2
        fail "$1 does not serve a file"
    }
}

# Ends a mount in good order, or without regard to what it has still to do.
end_mount() { # directory seconds
    umount "$1/mnt" || umount -l "$1/mnt"
    within "$2" is_gone "$pid" || kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
}

# MARK: Warm

# Every block is in the cache and in the bucket.
measure_warm() { # job side
    local job=$1 side=$2 dir pid
    if [ "$side" = disk ]; then
        [ ! -e "Benchmarks/disk-$job.fio" ] || measure_disk "$job"
        return
    fi
    dir=$(mktemp -d "$top/run.XXXXXX")
    mkdir "$dir/mnt"
    if [ "$side" = null ]; then
        start_mount "$dir" "$NULLMOUNT" $((size_mb << 20)) "$dir/mnt"
    else
        set_delay 0
        start_s3_mount "$dir" "$side" "--blockCacheSize=$((size_mb * 1024 / block_kb))"
        fio_run prefill "$dir/mnt/file" "$dir/prefill.json"
        within 120 everything_uploaded "$dir/mnt" || fail "$side does not finish uploading"
        set_delay "$delay_ms"
    fi
    fio_run "$job" "$dir/mnt/file" "$dir/result.json"
    note_fio "$job" "$side" "$dir/result.json"
    # What it still has to upload is of no interest.
    end_mount "$dir" 2
    rm -rf "$dir" "${bucket:?}/$(basename "$dir")"
}

measure_disk() { # job
    local dir
    dir=$(mktemp -d "$top/run.XXXXXX")
    fallocate -l "${size_mb}m" "$dir/file"
    fio_run prefill "$dir/file" "$dir/prefill.json"
    fio_run "disk-$1" "$dir/file" "$dir/result.json"
    note_fio "$1" disk "$dir/result.json"
    rm -rf "$dir"
}

# MARK: Bucket

# The port in the log of the S3 server, as soon as it is there.
s3_port() { sed -n 's|.*\[http://127\.0\.0\.1:\([0-9]*\)/\].*|\1|p' "$top/rclone.log" | head -n 1; }
s3_listens() { [ -n "$(s3_port)" ]; }

# Starts the server, and the network in between; sets `s3_url`.
start_s3() {
    local port
    # In memory: the disk of the cache file has enough to do.
    mkdir "$top/s3"
    mount -t tmpfs tmpfs "$top/s3" || fail "cannot mount a tmpfs"
    mkdir "$bucket"
    # A server elsewhere would not take processor time from those who are measured; one that is to be
    # near has its share.
    nice -n $((delay_ms == 0 ? 0 : 19)) "$RCLONE" serve s3 --config /dev/null --addr 127.0.0.1:0 --auth-key BENCHID,BENCHKEY \
        "$top/s3" >"$top/rclone.log" 2>&1 &
    # Its end is not worth a message.
    disown $!
    within 30 s3_listens || {
        cat "$top/rclone.log" >&2
        fail "rclone does not start"
    }
    port=$(s3_port)
    if [ "$delay_ms" != 0 ]; then
        # It ends when this script does, and with it the pipe to its input.
        coproc NET { exec "$NETPROXY" --to "127.0.0.1:$port" --delay-ms "$delay_ms"; }
        # shellcheck disable=SC2153 # set by coproc
        read -r -t 30 -u "${NET[0]}" port || fail "netproxy does not start"
    fi
    s3_url=http://127.0.0.1:$port/
}

# How far the bucket is away from now on, if there is a network in between.
set_delay() { # milliseconds
    [ -z "${NET_PID:-}" ] || echo "delay $1" >&"${NET[1]}"
}

start_s3_mount() { # directory side options...; through the program `wrapped` says, if any
    local options dir=$1 side=$2
    shift 2
    mapfile -t options < <(grep '^--' Benchmarks/options)
    rm -f "$dir/cache"
    start_mount "$dir" "${wrapped[@]}" "$(name_of "$side")" -f "${options[@]}" \
        "--baseURL=$s3_url" --accessId=BENCHID --accessKey=BENCHKEY "--size=${size_mb}m" \
        "--prefix=$(basename "$dir")/" "--blockCacheFile=$dir/cache" "$@" bucket "$dir/mnt"
}

# MARK: Cold

# One volume: written and uploaded, then read by mounts whose cache is empty.
measure_cold() { # side
    local side=$1 job dir pid begun cpu us
    dir=$(mktemp -d "$top/run.XXXXXX")
    mkdir "$dir/mnt"
    start_s3_mount "$dir" "$side"
    begun=$(now_us) cpu=$(cpu_us "$pid")
    fio_run s3-seqwrite-1m "$dir/mnt/file" "$dir/result.json"
    within 300 everything_uploaded "$dir/mnt" || fail "$side does not finish uploading"
    us=$(($(now_us) - begun)) cpu=$(($(cpu_us "$pid") - cpu))
    note s3-write-uploaded "$side" MB/s "$(awk "BEGIN { print $size_mb * 1048576 / $us }")"
    note s3-write-cpu "$side" s/GB "$(awk "BEGIN { print $cpu / ($size_mb * 1048.576) }")"
    end_mount "$dir" 60
    for job in "${jobs[@]}"; do
        start_s3_mount "$dir" "$side"
        cpu=$(cpu_us "$pid")
        fio_run "$job" "$dir/mnt/file" "$dir/result.json"
        cpu=$(($(cpu_us "$pid") - cpu))
        note_fio "$job" "$side" "$dir/result.json"
        [ "$job" != s3-seqread-1m-cold ] ||
            note s3-read-cpu "$side" s/GB "$(awk "BEGIN { print $cpu / ($size_mb * 1048.576) }")"
        end_mount "$dir" 60
    done
    rm -rf "$dir" "${bucket:?}/$(basename "$dir")"
}
