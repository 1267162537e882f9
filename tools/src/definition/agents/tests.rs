//! What agents run.

use super::*;
use crate::definition::{BuildArguments, parse};

/// A host with these programs and variables.
struct Given(
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

impl Host for Given {
    fn find(&self, program: &str) -> Option<PathBuf> {
        let found = self.0.iter().find(|&&known| known == program)?;
        Some(Path::new("/usr/bin").join(found))
    }

    fn variable(&self, name: &str) -> Option<String> {
        let found = self.1.iter().find(|(known, _)| *known == name)?;
        Some(found.1.to_owned())
    }

    fn arch(&self) -> &str {
        "amd64"
    }
}

fn of(header: &str, host: &Given) -> Result<Recipe, String> {
    let (definition, _) = parse(header, &BuildArguments::default()).unwrap();
    let stage = &definition.stages[0];
    recipe(stage.agent().unwrap(), stage, Path::new("/r"), host)
}

/// The commands of a recipe, each on a line.
fn commands(recipe: &Recipe) -> Vec<String> {
    let of = |step: &Step| match step {
        Step::Run {
            program, arguments, ..
        } => Some(format!("{} {}", program.display(), arguments.join(" "))),
        _ => None,
    };
    recipe.steps.iter().filter_map(of).collect()
}

#[test]
fn debian() {
    let host = Given(&["debootstrap", "mount"], &[("INCLUDE", "c d")]);
    let header = "Bootstrap: debootstrap\nMirrorURL: http://m\nOSVersion: trixie\nInclude: a  b\n";
    let recipe = of(header, &host).unwrap();
    assert_eq!(
        commands(&recipe),
        ["/usr/bin/debootstrap --variant=minbase \
          --exclude=openssl,udev,debconf-i18n,e2fsprogs --include=apt,a,b,c,d --arch=amd64 trixie \
          /r http://m"]
    );
    assert_eq!(recipe.masks.programs, [Path::new("/usr/bin/mount")]);
}

#[test]
fn red_hat() {
    let header = "Bootstrap: yum\nMirrorURL: http://m/%{OSVersion}/x\nOSVersion: 9\n\
                  UpdateURL: http://u\nInclude: a b\nSetOpt: k=v\n";
    let host = Given(&["dnf", "yum", "rpm"], &[]);
    let recipe = of(header, &host).unwrap();
    assert_eq!(
        commands(&recipe),
        [
            "/usr/bin/dnf --noplugins -c /r/etc/bootstrap-yum.conf --installroot /r --releasever=9 -y \
          --setopt k=v install /etc/redhat-release coreutils a b"
        ]
    );
    let content = recipe.steps.iter().find_map(|step| match step {
        Step::File { content, .. } => Some(content),
        _ => None,
    });
    let content = content.unwrap();
    assert!(content.contains("[base]\n") && content.contains("baseurl=http://m/9/x\n"));
    assert!(content.contains("[updates]\n") && content.contains("gpgcheck=0\n"));
    let signed = Given(&["yum", "rpm"], &[("GPG", "https://k")]);
    assert_eq!(commands(&of(header, &signed).unwrap()).len(), 3);
    let plain = Given(&["yum", "rpm"], &[("GPG", "http://k")]);
    assert!(
        of(header, &plain)
            .unwrap_err()
            .ends_with("fetched with https")
    );
}

#[test]
fn suse() {
    let host = Given(&["zypper", "rpm"], &[]);
    let header =
        "Bootstrap: zypper\nMirrorURL: http://m\nOtherURL1: http://a\nOtherURL2: http://b\n";
    assert_eq!(
        commands(&of(header, &host).unwrap()),
        [
            "/usr/bin/zypper --root /r ar http://m repo",
            "/usr/bin/zypper --root /r --gpg-auto-import-keys refresh",
            "/usr/bin/zypper --root /r ar -f http://a repo-0",
            "/usr/bin/zypper --root /r --gpg-auto-import-keys refresh -r repo-0",
            "/usr/bin/zypper --root /r ar -f http://b repo-1",
            "/usr/bin/zypper --root /r --gpg-auto-import-keys refresh -r repo-1",
            "/usr/bin/zypper --non-interactive -c /r/etc/zypp/zypp.conf --root /r --releasever= -n \
             install --auto-agree-with-licenses --download-in-advance aaa_base",
        ]
    );
    let host = Given(&["zypper", "rpm", "rpmkeys", "SUSEConnect"], &[]);
    let header = "Bootstrap: zypper\nOSVersion: 12.5\nProduct: SLES\nUser: u\nRegcode: c\n\
                  ProductPGP: key\nModules: m, n\n";
    assert_eq!(
        commands(&of(header, &host).unwrap())[..4],
        [
            "/usr/bin/rpmkeys --root /r --import /r/.product.pgp",
            "/usr/bin/SUSEConnect --root /r --product SLES/12.5/x86_64 --email u --regcode c",
            "/usr/bin/SUSEConnect --root /r --product m/12.5/x86_64",
            "/usr/bin/SUSEConnect --root /r --product n/12.5/x86_64",
        ]
    );
}

#[test]
fn others() {
    let host = Given(&["pacstrap", "arch-chroot"], &[]);
    let recipe = of("Bootstrap: arch\n", &host).unwrap();
    assert_eq!(
        commands(&recipe)[0],
        "/usr/bin/pacstrap -C /r/pac-conf -c -G -M /r haveged base"
    );
    let recipe = of(
        "Bootstrap: busybox\nMirrorURL: http://b\n",
        &Given(&[], &[]),
    )
    .unwrap();
    assert_eq!(commands(&recipe), ["/r/bin/busybox --install /r/bin"]);
    assert_eq!(of("Bootstrap: scratch\n", &host), Ok(Recipe::default()));
}

#[test]
fn what_is_missing() {
    let none = Given(&[], &[]);
    for (header, expected) in [
        (
            "Bootstrap: debootstrap",
            "debootstrap is not in PATH... Perhaps 'apt-get install' it: exec: \"debootstrap\": \
             executable file not found in $PATH",
        ),
        ("Bootstrap: yum", "neither yum nor dnf in path"),
        (
            "Bootstrap: zypper",
            "zypper is not in PATH: exec: \"zypper\": executable file not found in $PATH",
        ),
        (
            "Bootstrap: arch",
            "pacstrap is not in PATH: exec: \"pacstrap\": executable file not found in $PATH",
        ),
        (
            "Bootstrap: busybox",
            "invalid busybox header, no mirrur url specified",
        ),
    ] {
        assert_eq!(of(header, &none).unwrap_err(), expected);
    }
    let all = Given(&["debootstrap", "yum", "rpm", "zypper", "SUSEConnect"], &[]);
    for (header, expected) in [
        (
            "Bootstrap: debootstrap",
            "invalid debootstrap header, no mirrorurl specified",
        ),
        (
            "Bootstrap: debootstrap\nMirrorURL: x",
            "invalid debootstrap header, no osversion specified",
        ),
        (
            "Bootstrap: yum\nMirrorURL: x%{osversion}",
            "while getting bootstrap options: invalid yum header, osversion referenced in mirror \
             but no osversion specified",
        ),
        (
            "Bootstrap: zypper",
            "invalid zypper header, no MirrorURL specified",
        ),
        (
            "Bootstrap: zypper\nUser: x",
            "for installation of SLE 'Product', 'User' and 'Regcode' need to be set",
        ),
    ] {
        assert_eq!(of(header, &all).unwrap_err(), expected);
    }
}

#[test]
fn versions_in_addresses() {
    for (url, expected) in [
        ("a/%{OSVERSION}/%{osversion}", ("a/9/9", true)),
        ("a", ("a", false)),
        ("é%{OsVersion}é", ("é9é", true)),
    ] {
        let (found, replaced) = with_version(url, "9");
        assert_eq!((found.as_str(), replaced), expected);
    }
}

#[test]
fn databases() {
    assert_eq!(yum::judge_database("/var/lib/rpm\n"), Ok(Vec::new()));
    assert_eq!(
        yum::judge_database("/usr/lib/sysimage/rpm").unwrap().len(),
        2
    );
    assert!(yum::judge_database("/root/.rpmdb").is_err());
    for (backend, warnings) in [("bdb\n", 0), ("%{_db_backend}\n", 0), ("sqlite\n", 2)] {
        assert_eq!(yum::judge_backend(backend).len(), warnings, "{backend}");
    }
}
