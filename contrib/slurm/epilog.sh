#!/bin/bash
# Epilogue for Slurm: lets go of what the prologue pinned for this job, and keeps the caches within
# their bounds.
#
#   slurm.conf:  Epilog=/etc/skiff/slurm/epilog.sh
#
# Images stay cached: the next job will want them. It never fails, for the same reason as the
# prologue.

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=common.sh
. "$here/common.sh" || exit 0

exec </dev/null >/dev/null 2>&1
trap 'exit 0' TERM INT HUP

# A user's own epilogue has pinned nothing.
[ -n "$SKIFF" ] && [ -n "$is_root" ] || exit 0

# Seconds for each of the steps below.
SHORT=10

# One call for each: a name of which nothing was ever cached must not keep the others pinned.
unpin() {
    local name
    for name in "$@"; do
        as "$user_id" "$SKIFF" cache unpin -- "$name"
    done
}

if [ -n "$job" ] && [ -n "$user_id" ] && [ -f "$(pins_of "$job")" ]; then
    mapfile -t pinned <"$(pins_of "$job")"
    rm -f -- "$(pins_of "$job")"
    # Pinned for another job of this user on this node as well: stays so. Job numbers are all the
    # names there are, and patterns are off.
    still=$(find "$STATE/$user_id" -type f -exec cat -- {} + 2>/dev/null)
    free=()
    for name in "${pinned[@]}"; do
        if ! grep -qxF -e "$name" <<<"$still"; then
            free+=("$name")
        fi
    done
    SKIFF_CACHE_DIR=$USER_CACHE
    if [ "${#free[@]}" -gt 0 ]; then
        within "$SHORT" unpin "${free[@]}"
    fi
    within "$SHORT" as "$user_id" "$SKIFF" cache gc
    rmdir -- "$STATE/$user_id"
    say "unpinned ${#free[@]} of ${#pinned[@]} image(s) of uid $user_id"
fi

owner=$(shared_owner)
if [ -n "$owner" ]; then
    SKIFF_CACHE_DIR=$SHARED_CACHE
    umask 022
    within "$SHORT" as "$owner" "$SKIFF" cache gc
fi
exit 0
