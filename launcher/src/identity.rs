//! Files that tell programs who the user is and where the network is: texts from texts, no I/O.

use std::net::IpAddr;

use serde::Serialize;

/// The user's line for a passwd file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PasswdEdit {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// The number that the container has for him; its line, where the image has one, is his.
    pub seen_as: u32,
    /// Primary group.
    pub gid: u32,
    /// Full name and more.
    pub gecos: String,
    /// Home directory in the container.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

impl PasswdEdit {
    /// The image's file with the user in it. Where the image knows the number already, only its
    /// home changes: name, group and shell stay the image's (as Apptainer up to 1.4).
    pub fn apply(&self, image: &str) -> String {
        // Somebody else who is seen as root does not change root's home.
        if self.seen_as == 0 && self.uid != 0 {
            return image.to_owned();
        }
        let mut out = String::with_capacity(image.len() + 128);
        let mut found = false;
        for line in image.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [name, password, uid, gid, gecos, _, shell]
                    if !found && uid.parse() == Ok(self.seen_as) =>
                {
                    found = true;
                    out.push_str(
                        &[name, password, uid, gid, gecos, &self.home.as_str(), shell]
                            .map(|field| *field)
                            .join(":"),
                    );
                }
                _ => out.push_str(line),
            }
            out.push('\n');
        }
        if !found {
            let Self {
                name,
                uid,
                gid,
                gecos,
                home,
                shell,
                ..
            } = self;
            out.push_str(&format!("{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}\n"));
        }
        out
    }
}

/// Lines for a group file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupEdit {
    /// Login name of the member.
    pub user: String,
    /// Names and numbers.
    pub groups: Vec<(String, u32)>,
}

impl GroupEdit {
    /// The image's file with one more line for each group; lines of the image stay, even those
    /// with the same number.
    pub fn apply(&self, image: &str) -> String {
        let own: Vec<String> = self
            .groups
            .iter()
            .map(|(name, gid)| format!("{name}:x:{gid}:{}", self.user))
            .collect();
        let mut out = String::with_capacity(image.len() + 64);
        for line in image
            .lines()
            .filter(|line| !own.iter().any(|own| own == line))
        {
            out.push_str(line);
            out.push('\n');
        }
        for line in own {
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}

/// A resolv.conf with these servers.
pub fn resolv_conf(servers: &[IpAddr]) -> String {
    servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect()
}

/// The hosts file of a container that has its own, empty network.
pub const LOCAL_HOSTS: &str = "\
127.0.0.1   localhost
::1         localhost ip6-localhost ip6-loopback
ff02::1     ip6-allnodes
ff02::2     ip6-allrouters
";

/// Whether `name` can be a host name (RFC 1123).
pub fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> PasswdEdit {
        PasswdEdit {
            name: "ann".into(),
            uid: 1001,
            seen_as: 1001,
            gid: 100,
            gecos: "Ann".into(),
            home: "/home/ann".into(),
            shell: "/bin/zsh".into(),
        }
    }

    #[test]
    fn an_unknown_user_is_added() {
        assert_eq!(
            user().apply("root:x:0:0:root:/root:/bin/sh"),
            "root:x:0:0:root:/root:/bin/sh\nann:x:1001:100:Ann:/home/ann:/bin/zsh\n"
        );
        assert_eq!(user().apply(""), "ann:x:1001:100:Ann:/home/ann:/bin/zsh\n");
    }

    #[test]
    fn a_known_user_only_gets_the_home() {
        assert_eq!(
            user().apply("alien:x:1001:55:Al:/ho:/bin/foo\nbroken:1001\n"),
            "alien:x:1001:55:Al:/home/ann:/bin/foo\nbroken:1001\n"
        );
    }

    #[test]
    fn a_user_under_another_number() {
        let other = PasswdEdit {
            seen_as: 5,
            ..user()
        };
        assert_eq!(
            other.apply("games:x:5:60:g:/usr/games:/bin/sh\n"),
            "games:x:5:60:g:/home/ann:/bin/sh\n"
        );
        assert!(other.apply("").starts_with("ann:x:1001:"));
        let root = PasswdEdit {
            seen_as: 0,
            ..user()
        };
        assert_eq!(
            root.apply("root:x:0:0:r:/root:/bin/sh\n"),
            "root:x:0:0:r:/root:/bin/sh\n"
        );
    }

    #[test]
    fn groups_are_added_once() {
        let edit = GroupEdit {
            user: "ann".into(),
            groups: vec![("users".into(), 100), ("lab".into(), 500)],
        };
        assert_eq!(
            edit.apply("root:x:0:\nother:x:100:\nlab:x:500:ann"),
            "root:x:0:\nother:x:100:\nusers:x:100:ann\nlab:x:500:ann\n"
        );
    }

    #[test]
    fn hostnames() {
        for name in ["a", "my.host", "node-7.cluster", "7up"] {
            assert!(is_hostname(name), "{name}");
        }
        for name in ["", "bad_host", "-a", "a-", "a..b", "a b", &"x".repeat(64)] {
            assert!(!is_hostname(name), "{name}");
        }
    }
}
