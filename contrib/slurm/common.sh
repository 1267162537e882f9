# Shared by prolog.sh and epilog.sh, which source it. Settings, whose images they are, and how
# something is run with another user's rights and within a time.
#
# Two sources of names, two degrees of trust:
#   - the site's list is the administrator's; it goes to the node's shared cache if there is one
#   - the job's comment and environment are the user's; whatever they name is fetched with the
#     user's own rights into the user's own cache. Were it fetched by the account that owns the
#     shared cache, any user could have it read for him, and publish, what only it may read.

# Slurm gives its scripts no search path.
PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
export PATH
# Words of others are never patterns here.
set -f
umask 077

# Defaults; /etc/skiff/slurm.conf (shell syntax, the administrator's) changes them.
SKIFF=                              # the program; found on the path when empty
WARM_LIST=/etc/skiff/warm.list      # images for every job, one a line, # comments
WARM_DEADLINE=30                    # seconds that a prologue may take
WARM_MAX=20G                        # bytes that one prologue may fetch for a job
WARM_FLAGS=                         # such as --full
SHARED_CACHE=/var/cache/skiff       # used when it exists
USER_CACHE=                         # where jobs keep theirs; empty: skiff's own choice
STATE=/run/skiff-slurm              # which job pinned what
LOG=                                # a file; the system's log when empty

settings=${SKIFF_SLURM_CONF:-/etc/skiff/slurm.conf}
# Root believes no variable about where its settings are, unless a test runs it with a folder of
# root's own.
if [ "$(id -u)" = 0 ] && [ -e "$settings" ] && [ "$(stat -L -c %u -- "$settings")" != 0 ]; then
    settings=/dev/null
fi
# shellcheck source=/dev/null
[ -r "$settings" ] && . "$settings"
[ -n "$SKIFF" ] || SKIFF=$(command -v skiff || true)

say() {
    if [ -n "$LOG" ]; then
        printf '%s job %s: %s\n' "$(date +%FT%T)" "${job:-?}" "$*" >>"$LOG"
    elif command -v logger >/dev/null; then
        logger -t skiff-slurm -- "job ${job:-?}: $*"
    fi
} 2>/dev/null

# What is a number and nothing else; prints nothing otherwise.
number() {
    case ${1-} in
        '' | *[!0-9]*) ;;
        *) printf '%s' "$1" ;;
    esac
}

job=$(number "${SLURM_JOB_ID-}")
user_id=$(number "${SLURM_JOB_UID-}")
WARM_DEADLINE=$(number "$WARM_DEADLINE")
WARM_DEADLINE=${WARM_DEADLINE:-30}
is_root=
[ "$(id -u)" = 0 ] && is_root=1

# The site's images, one a line.
site_images() {
    [ -r "$WARM_LIST" ] || return 0
    while read -r name _ || [ -n "$name" ]; do
        case $name in '' | '#'* | -*) ;; *) printf '%s\n' "$name" ;; esac
    done <"$WARM_LIST"
}

# The job's images, one a line: SKIFF_WARM in its environment, where a script has that (TaskProlog),
# and `skiff-warm=NAME,NAME` or `warm:NAME` in its comment. At most 16 of them, and none that could be a flag.
job_images() {
    local word name count=0
    local words=()
    IFS=$', \t\n' read -r -d '' -a words <<<"${SKIFF_WARM-}" || true
    local comment=()
    IFS=$'; \t\n' read -r -d '' -a comment <<<"${SLURM_JOB_COMMENT-}" || true
    for word in "${comment[@]}"; do
        case $word in
            skiff-warm=*)
                local named=()
                IFS=, read -r -a named <<<"${word#skiff-warm=}" || true
                words+=("${named[@]}")
                ;;
            warm:*) words+=("${word#warm:}") ;;
        esac
    done
    for name in "${words[@]}"; do
        case $name in
            '' | -*) continue ;;
        esac
        count=$((count + 1))
        [ "$count" -le 16 ] || break
        printf '%s\n' "$name"
    done
}

# as UID COMMAND…: with that user's rights and next to nothing of our environment.
as() {
    local id=$1 entry name group home
    shift
    if [ -z "$is_root" ]; then
        # A task's prologue is the user already, and has his environment.
        "$@"
        return
    fi
    entry=$(getent passwd "$id") || return 1
    IFS=: read -r name _ _ group _ home _ <<<"$entry"
    local clean=(env -i "PATH=$PATH" "HOME=$home" "USER=$name" "LOGNAME=$name" "TMPDIR=/tmp")
    [ -n "$SKIFF_CACHE_DIR" ] && clean+=("SKIFF_CACHE_DIR=$SKIFF_CACHE_DIR")
    cd / || return 1
    if [ "$id" = 0 ]; then
        "${clean[@]}" "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid "$id" --regid "$group" --init-groups --no-new-privs -- "${clean[@]}" "$@"
    else
        runuser -u "$name" -- "${clean[@]}" "$@"
    fi
}

# within SECONDS COMMAND…: and then goes on without it. A process that hangs in a dead file server
# cannot be killed, so nobody waits for it either.
within() {
    local ticks=$(($1 * 10)) pid
    shift
    set -m
    "$@" </dev/null >/dev/null 2>&1 &
    pid=$!
    set +m
    while kill -0 "$pid" 2>/dev/null; do
        ticks=$((ticks - 1))
        if [ "$ticks" -le 0 ]; then
            kill -KILL -- "-$pid" 2>/dev/null
            disown "$pid" 2>/dev/null
            return 0
        fi
        sleep 0.1
    done
    return 0
}

# The id of the shared cache's owner, if there is such a cache that this script may fill.
shared_owner() {
    [ -n "$is_root" ] && [ -n "$SHARED_CACHE" ] || return 0
    [ -d "$SHARED_CACHE" ] && [ ! -L "$SHARED_CACHE" ] || return 0
    stat -c %u -- "$SHARED_CACHE"
}

# The file with what this job pinned for its user.
pins_of() {
    printf '%s/%s/%s' "$STATE" "$user_id" "$1"
}
