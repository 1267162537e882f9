//! Roles, and what follows from them.

use super::*;
use crate::fakeroot::{FakerootCommand, FakerootFacts};
use crate::idmap::IdMap;
use crate::request::identity::{FakerootWish, IdentityWish};
use crate::security::capabilities;

fn wishing(identity: IdentityWish) -> LaunchRequest {
    LaunchRequest {
        identity,
        ..request()
    }
}

fn fakeroot(wish: FakerootWish) -> LaunchRequest {
    wishing(IdentityWish {
        fakeroot: Some(wish),
        ..IdentityWish::default()
    })
}

/// A host that offers what the arguments say.
fn host(subordinate: bool, map_root: bool, command: bool) -> HostFacts {
    let map = IdMap::parse("0:1001:1,1:100000:65536/0:100:1,1:100000:65536");
    HostFacts {
        fakeroot: Some(FakerootFacts {
            subordinate: map.filter(|_| subordinate).ok_or_else(|| "none".to_owned()),
            can_map_root: map_root,
            command: command.then(|| FakerootCommand {
                script: "/data/f".into(),
                daemon: "/etc/hosts".into(),
                library: "/etc/localtime".into(),
                getopt: None,
            }),
            root: UserRecord {
                name: "root".into(),
                home: "/root".into(),
                shell: "/bin/bash".into(),
                ..UserRecord::default()
            },
            groups: vec![GroupRecord {
                gid: 0,
                name: "root".into(),
            }],
        }),
        ..facts()
    }
}

fn outcome(
    request: &LaunchRequest,
    facts: &HostFacts,
) -> (Result<LaunchPlan, String>, Vec<String>) {
    plan_with(request, &Config::default(), facts)
}

#[test]
fn subordinate_ids_come_first() {
    let (plan, messages) = outcome(&fakeroot(FakerootWish::default()), &host(true, true, true));
    let plan = plan.unwrap();
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!(plan.namespaces.ids.as_ref().map(IdMap::ids), Some((0, 0)));
    assert!(plan.namespaces.ids.is_some_and(|ids| !ids.is_single()));
    assert_eq!(plan.home, Path::new("/root"));
    assert_eq!(plan.security.capabilities, capabilities::ALL);
    assert!(plan.security.no_new_privileges && plan.fakeroot.is_none());
    assert!(plan.security.filters.is_empty());
}

#[test]
fn a_mapped_root_has_the_command() {
    let (plan, messages) = outcome(&fakeroot(FakerootWish::default()), &host(false, true, true));
    let plan = plan.unwrap();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(plan.fakeroot.is_some() && plan.security.filters.is_empty());
    assert!(!plan.security.no_new_privileges);
    let binds: Vec<_> = plan
        .mounts
        .iter()
        .filter(|step| step.tag == MountTag::Userbinds)
        .map(|step| step.destination.display().to_string())
        .collect();
    assert_eq!(
        binds,
        [
            "/.singularity.d/libs/faked",
            "/.singularity.d/libs/fakeroot",
            "/.singularity.d/libs/libfakeroot.so"
        ]
    );
}

#[test]
fn a_filter_replaces_the_command() {
    let (plan, _) = outcome(
        &fakeroot(FakerootWish::default()),
        &host(false, true, false),
    );
    let plan = plan.unwrap();
    assert_eq!(plan.security.filters.len(), 1);
    assert_eq!(plan.security.capabilities, capabilities::ALL);
    assert!(!plan.security.no_new_privileges);
    // Without the namespace it has no capability to install a filter with.
    let wish = FakerootWish {
        ignore_userns: true,
        ..FakerootWish::default()
    };
    let (plan, _) = outcome(&fakeroot(wish), &host(false, false, false));
    let plan = plan.unwrap();
    assert_eq!(plan.namespaces.ids, None);
    assert_eq!(plan.security.capabilities, 0);
    assert!(plan.security.no_new_privileges);
    assert_eq!(plan.home, Path::new("/root"));
}

#[test]
fn no_way_to_be_root() {
    let (plan, _) = outcome(
        &fakeroot(FakerootWish::default()),
        &host(false, false, true),
    );
    assert!(plan.unwrap_err().starts_with("--fakeroot requires either"));
    let root = HostFacts {
        uid: 0,
        privileged: true,
        ..host(false, false, true)
    };
    let (plan, _) = outcome(&fakeroot(FakerootWish::default()), &root);
    assert_eq!(plan.unwrap_err(), "could not use fakeroot: none");
}

#[test]
fn capabilities_of_users_and_root() {
    let wish = |add: &[&str], drop: &[&str]| {
        wishing(IdentityWish {
            add_capabilities: add.iter().map(|name| (*name).to_owned()).collect(),
            drop_capabilities: drop.iter().map(|name| (*name).to_owned()).collect(),
            ..IdentityWish::default()
        })
    };
    let held = |request: &LaunchRequest, facts: &HostFacts| {
        outcome(request, facts).0.unwrap().security.capabilities
    };
    let root = HostFacts {
        uid: 0,
        gid: 0,
        privileged: true,
        ..facts()
    };
    assert_eq!(held(&wish(&[], &[]), &facts()), 0);
    assert_eq!(
        held(&wish(&["net_raw", "kill"], &["KILL"]), &facts()),
        1 << 13
    );
    assert_eq!(held(&wish(&[], &["all"]), &root), 0);
    assert_eq!(held(&wish(&[], &["CAP_KILL"]), &root), !(1 << 5));
    let (_, messages) = outcome(&wish(&["dance"], &[]), &facts());
    assert_eq!(messages, ["won't add unknown capability: CAP_DANCE"]);
}

#[test]
fn other_ids() {
    let wish = wishing(IdentityWish {
        uid: Some(5),
        gids: vec![7, 8],
        ..IdentityWish::default()
    });
    let plan = outcome(&wish, &facts()).0.unwrap();
    assert_eq!(plan.namespaces.ids.map(|ids| ids.ids()), Some((5, 7)));
    assert_eq!(plan.security.ids, None);
    let root = HostFacts {
        uid: 0,
        privileged: true,
        ..facts()
    };
    let plan = outcome(&wish, &root).0.unwrap();
    assert_eq!(plan.namespaces.ids, None);
    assert_eq!(
        plan.security.ids.map(|ids| (ids.uid, ids.groups)),
        Some((Some(5), vec![7, 8]))
    );
    assert_eq!(plan.security.capabilities, 0);
}

#[test]
fn modules_that_are_off() {
    let wish = wishing(IdentityWish {
        selinux: Some("label".into()),
        ..IdentityWish::default()
    });
    assert_eq!(
        outcome(&wish, &facts()).0.unwrap_err(),
        "failed to apply security configuration: selinux requested, but is not enabled or \
         supported on this system"
    );
}
