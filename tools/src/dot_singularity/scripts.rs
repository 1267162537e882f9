//! The shell scripts that every image has. Launchers source `env/*.sh` in the order of their names;
//! the scripts in `actions` are for those that run an image's files without one.

/// All by name below `/.singularity.d`, but for the runscript.
pub const ALL: &[(&str, &str)] = &[
    ("actions/exec", EXEC),
    ("actions/run", RUN),
    ("actions/shell", SHELL),
    ("actions/start", START),
    ("actions/test", TEST),
    ("env/01-base.sh", BASE),
    ("env/90-environment.sh", ENVIRONMENT),
    // Replaced where a definition has applications.
    ("env/94-appsbase.sh", ""),
    ("env/95-apps.sh", APPS),
    ("env/99-base.sh", LIBRARIES_AND_PROMPT),
    ("env/99-runtimevars.sh", PATHS),
    ("startscript", START_NOTHING),
];

/// The runscript of an image that nobody gave one.
pub const NO_RUNSCRIPT: &str = "\
#!/bin/sh
echo \"There is no runscript defined for this container\"
";

/// The runscript of what an agent made.
pub const EMPTY_RUNSCRIPT: &str = "#!/bin/sh\n";

/// How `90-environment.sh` begins.
pub const ENVIRONMENT: &str = "\
#!/bin/sh
# Variables of this image's own follow.

";

const START_NOTHING: &str = "\
#!/bin/sh
# Nothing is started in instances of this image.
";

const BASE: &str = "\
#!/bin/sh
# The environment comes from the files in this directory, in the order of their names.
";

const EXEC: &str = r#"#!/bin/sh
# Runs a program in the environment of this image.
for file in /.singularity.d/env/*.sh; do
    if [ -f "$file" ]; then . "$file"; fi
done
exec "$@"
"#;

const RUN: &str = r#"#!/bin/sh
# Runs the runscript of this image or of one of its applications.
for file in /.singularity.d/env/*.sh; do
    if [ -f "$file" ]; then . "$file"; fi
done
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    for app in "$SINGULARITY_APPNAME" singularity; do
        if [ -x "/scif/apps/$app/scif/runscript" ]; then
            exec "/scif/apps/$app/scif/runscript" "$@"
        fi
    done
    echo "No Apptainer runscript for contained app: $SINGULARITY_APPNAME"
    exit 1
fi
if [ -x /.singularity.d/runscript ]; then
    exec /.singularity.d/runscript "$@"
fi
echo "No Apptainer runscript found, executing /bin/sh"
exec /bin/sh "$@"
"#;

const SHELL: &str = r#"#!/bin/sh
# Runs a shell in the environment of this image.
for file in /.singularity.d/env/*.sh; do
    if [ -f "$file" ]; then . "$file"; fi
done
if [ -n "${SINGULARITY_SHELL:-}" ] && [ -x "$SINGULARITY_SHELL" ]; then
    exec "$SINGULARITY_SHELL" "$@"
fi
if [ -x /bin/bash ]; then
    SHELL=/bin/bash
    PS1="Apptainer ${APPTAINER_NAME:-}:\\w> "
    export SHELL PS1
    exec /bin/bash --norc "$@"
fi
if [ -x /bin/sh ]; then
    SHELL=/bin/sh
    export SHELL
    exec /bin/sh "$@"
fi
echo "ERROR: /bin/sh does not exist in container" >&2
exit 1
"#;

const START: &str = r#"#!/bin/sh
# Starts what an instance of this image runs. Process 1 waits to be told so.
kill -CONT 1
for file in /.singularity.d/env/*.sh; do
    if [ -f "$file" ]; then . "$file"; fi
done
if [ -x /.singularity.d/startscript ]; then
    exec /.singularity.d/startscript "$@"
fi
"#;

const TEST: &str = r#"#!/bin/sh
# Runs the test of this image or of one of its applications.
for file in /.singularity.d/env/*.sh; do
    if [ -f "$file" ]; then . "$file"; fi
done
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    for app in "$SINGULARITY_APPNAME" singularity; do
        if [ -x "/scif/apps/$app/scif/test" ]; then
            exec "/scif/apps/$app/scif/test" "$@"
        fi
    done
    echo "No tests for contained app: $SINGULARITY_APPNAME"
    exit 1
fi
if [ -x /.singularity.d/test ]; then
    exec /.singularity.d/test "$@"
fi
echo "No test found in container, executing /bin/sh -c true"
exec /bin/sh -c true
"#;

const APPS: &str = r#"#!/bin/sh
# Makes the application that was asked for the one that is found first.
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    export SINGULARITY_APPNAME
    if [ ! -d "/scif/apps/$SINGULARITY_APPNAME/" ]; then
        echo "Could not locate the container application: $SINGULARITY_APPNAME"
        exit 1
    fi
    SCIF_APPS=/scif/apps
    SCIF_APPROOT="/scif/apps/$SINGULARITY_APPNAME"
    export SCIF_APPS SCIF_APPROOT
    PATH="$SCIF_APPROOT:/scif/apps/singularity:$PATH"
    if [ -d "$SCIF_APPROOT/bin" ]; then
        PATH="$SCIF_APPROOT/bin:$PATH"
    elif [ -d /scif/apps/singularity/bin ]; then
        PATH="/scif/apps/singularity/bin:$PATH"
    fi
    if [ -d "$SCIF_APPROOT/lib" ]; then
        LD_LIBRARY_PATH="$SCIF_APPROOT/lib:${LD_LIBRARY_PATH:-}"
        export LD_LIBRARY_PATH
    elif [ -d /scif/apps/singularity/lib ]; then
        LD_LIBRARY_PATH="/scif/apps/singularity/lib:${LD_LIBRARY_PATH:-}"
        export LD_LIBRARY_PATH
    fi
    # A file of the application's own may change what it is called or where it lies.
    if [ -f "/scif/apps/$SINGULARITY_APPNAME/scif/env/01-base.sh" ]; then
        . "/scif/apps/$SINGULARITY_APPNAME/scif/env/01-base.sh"
    elif [ -f /scif/apps/singularity/scif/env/01-base.sh ]; then
        . /scif/apps/singularity/scif/env/01-base.sh
    fi
    if [ -f "/scif/apps/$SINGULARITY_APPNAME/scif/env/90-environment.sh" ]; then
        . "/scif/apps/$SINGULARITY_APPNAME/scif/env/90-environment.sh"
    elif [ -f /scif/apps/singularity/scif/env/90-environment.sh ]; then
        . /scif/apps/singularity/scif/env/90-environment.sh
    fi
    export PATH
fi
"#;

const LIBRARIES_AND_PROMPT: &str = r#"#!/bin/sh
# Libraries that a launcher brings are found, and shells have a prompt.
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
PS1="${PS1:-Apptainer> }"
export LD_LIBRARY_PATH PS1
"#;

const PATHS: &str = r#"#!/bin/sh
# Search paths that a launcher was given for the program.
if [ -n "${SING_USER_DEFINED_PREPEND_PATH:-}" ]; then
    PATH="$SING_USER_DEFINED_PREPEND_PATH:$PATH"
fi
if [ -n "${SING_USER_DEFINED_APPEND_PATH:-}" ]; then
    PATH="$PATH:$SING_USER_DEFINED_APPEND_PATH"
fi
if [ -n "${SING_USER_DEFINED_PATH:-}" ]; then
    PATH="$SING_USER_DEFINED_PATH"
fi
unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_APPEND_PATH SING_USER_DEFINED_PATH
export PATH
"#;
