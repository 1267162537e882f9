//! A user's session with systemd and a message bus of its own, in mount namespaces where version 2
//! is all there is of control groups: limits by way of a scope.

use std::path::Path;
use std::time::Duration;

use skiff_tests::command::Cmd;
use skiff_tests::image::images;
use skiff_tests::user::ordinary;
use skiff_tests::{program, require};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Run by root: makes the machine look as systemd's user manager wants it, and a subtree of control
/// groups that belongs to the user.
const MACHINE: &str = r#"
set -e
mkdir -p /run/systemd
mount -t tmpfs none /run/systemd
mkdir /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/session-test-$$
mkdir $group $group/user
chown $UID_ $group/user $group/user/cgroup.procs $group/user/cgroup.subtree_control
echo 0 >$group/user/cgroup.procs
set +e
setpriv --reuid=$UID_ --regid=$GID_ --init-groups /bin/bash -c "$SESSION"
code=$?
echo 0 >/sys/fs/cgroup/cgroup.procs
# The image's server lingers for a moment.
for i in $(seq 100); do
  find $group -depth -type d -exec rmdir {} + 2>/dev/null
  [ -d $group ] || break
  sleep 0.1
done
exit $code
"#;

/// Run by the user: bus and manager, then the command, then the end of both.
const SESSION: &str = r#"
mkdir -m 700 $T/run
export XDG_RUNTIME_DIR=$T/run DBUS_SESSION_BUS_ADDRESS=unix:path=$T/run/bus
dbus-daemon --session --address=$DBUS_SESSION_BUS_ADDRESS --nofork --nopidfile >$T/bus.log 2>&1 &
bus=$!
for i in $(seq 100); do [ -S $T/run/bus ] && break; sleep 0.1; done
/usr/lib/systemd/systemd --user --log-target=console >$T/systemd.log 2>&1 &
manager=$!
for i in $(seq 150); do
  systemctl --user is-system-running 2>/dev/null | grep -q running && up=yes && break
  sleep 0.1
done
if [ "$up" ]; then
  touch $T/empty.toml
  $SKIFF exec --apply-cgroups $T/empty.toml $IMG cat /proc/self/cgroup
  echo "code $?"
  $SKIFF exec --cpus 0.5 --memory 64m --memory-swap -1 --pids-limit 9 --cpuset-cpus 0 $IMG true
  echo "code $?"
  for i in $(seq 100); do
    systemctl --user list-units --all --no-legend --plain 'skiff-*' | grep -q . || break
    sleep 0.1
  done
  systemctl --user list-units --all --no-legend --plain 'skiff-*'
else
  echo no session; tail -n 3 $T/systemd.log
fi
kill $manager; wait $manager
kill $bus; wait $bus
"#;

#[test]
fn a_scope_of_the_users_session() {
    const WHAT: &str = "limits through systemd";
    require!(WHAT; Root, Skiff, Apptainer, Fuse, UserNamespaces);
    for needed in [SYSTEMD, "/usr/bin/dbus-daemon", "/usr/bin/systemctl"] {
        if !Path::new(needed).exists() {
            skiff_tests::require::skip(WHAT, &format!("{needed} is not installed"));
            return;
        }
    }
    let user = ordinary();
    let folder = std::env::temp_dir().join(format!("skiff-session-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("fresh");
    user.own(&folder);
    let outcome = Cmd::new("/usr/bin/unshare")
        .args(["-m", "/bin/bash", "-c", MACHINE])
        .cwd("/")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("HOME", &user.home)
        .env("SKIFF_LINGER", "1")
        .env("UID_", user.uid.to_string())
        .env("GID_", user.gid.to_string())
        .env("SESSION", SESSION)
        .env("T", &folder)
        .env("SKIFF", program::skiff().expect("required").called("skiff"))
        .env(
            "IMG",
            &images(program::real_apptainer().expect("required")).sif,
        )
        .owner(user.uid, user.gid)
        .limit(Duration::from_secs(100))
        .run();
    std::fs::remove_dir_all(&folder).expect("ours");
    let text = outcome.stdout_text();
    if text.contains("no session") || !text.contains("code ") {
        skiff_tests::require::skip(WHAT, outcome.to_string().trim());
        return;
    }
    let mut lines = text.lines();
    let group = lines.find(|line| line.starts_with("0::")).unwrap_or("");
    assert!(
        group.contains("/user.slice/skiff-") && group.ends_with(".scope"),
        "{outcome}"
    );
    assert_eq!(lines.next(), Some("code 0"), "{outcome}");
    // systemd accepts all limits; whether it can keep them is a matter of the machine, and is said.
    match lines.next() {
        Some("code 0") => {}
        Some("code 255") => assert!(
            outcome.stderr_text().contains("is not available in"),
            "{outcome}"
        ),
        other => panic!("{other:?}: {outcome}"),
    }
    assert_eq!(lines.next(), None, "scopes that are left: {outcome}");
}
