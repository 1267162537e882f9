#!/bin/bash
# Prologue for Slurm: has the images that a job will use in the node's cache when it starts.
#
#   slurm.conf:  Prolog=/etc/skiff/slurm/prolog.sh       (root, on each node)
#   or           TaskProlog=/etc/skiff/slurm/prolog.sh   (the job's user, before each task)
#
# It never fails and is never late: a prologue that does drains the node. What is not here when
# time is up is fetched when the job reads it. See docs/cluster.md.

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=common.sh
. "$here/common.sh" || exit 0

# Nothing to the standard output: a TaskProlog's is read as commands.
exec </dev/null >/dev/null 2>&1
trap 'exit 0' TERM INT HUP

[ -n "$SKIFF" ] || { say "skiff is not installed"; exit 0; }

mapfile -t site < <(site_images)
mapfile -t own < <(job_images)
owner=$(shared_owner)
if [ -z "$owner" ]; then
    # Nobody to fill a cache for all: the site's images are for the job's user as well.
    own=("${site[@]}" "${own[@]}")
    site=()
fi

warm=("$SKIFF" warm "--deadline=${WARM_DEADLINE}s" "--max-bytes=$WARM_MAX")
# Flags of the administrator's, to be split at spaces.
# shellcheck disable=SC2206
warm+=($WARM_FLAGS)

# Remembered before it is done, so that what was pinned is unpinned however this ends.
pin=()
if [ -n "$is_root" ] && [ -n "$job" ] && [ -n "$user_id" ] && [ "${#own[@]}" -gt 0 ]; then
    if mkdir -p -m 0700 "$STATE" "$STATE/$user_id" && printf '%s\n' "${own[@]}" >"$(pins_of "$job")"; then
        pin=(--pin)
    fi
fi

if [ "${#site[@]}" -gt 0 ]; then
    (
        SKIFF_CACHE_DIR=$SHARED_CACHE
        # For everybody to read.
        umask 022
        within "$((WARM_DEADLINE + 1))" as "$owner" "${warm[@]}" -- "${site[@]}"
    ) &
fi
if [ "${#own[@]}" -gt 0 ] && { [ -z "$is_root" ] || [ -n "$user_id" ]; }; then
    (
        # A task's prologue keeps what the user's environment says.
        [ -z "$is_root" ] || SKIFF_CACHE_DIR=$USER_CACHE
        within "$((WARM_DEADLINE + 1))" as "$user_id" "${warm[@]}" "${pin[@]}" -- "${own[@]}"
    ) &
fi
wait
say "warmed ${#site[@]} image(s) for all, ${#own[@]} for uid ${user_id:-$(id -u)}"
exit 0
