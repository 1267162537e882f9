//! Every directive of `apptainer.conf`: what it can be, what it is by default, what it does here.
//! docs/configuration.md is the same table for people; a test compares the two.

/// What a directive's value can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A number.
    Number,
    /// Anything.
    Text,
    /// Items, on several lines or separated by commas.
    List,
}

/// What a directive does here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// What it does in Apptainer.
    Same,
    /// Nothing, because.
    None(&'static str),
}

/// One directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub kind: Kind,
    /// Its value where the file says nothing, as the file would have it; empty for none.
    pub default: &'static str,
    /// Its effect.
    pub effect: Effect,
}

const fn same(name: &'static str, kind: Kind, default: &'static str) -> Directive {
    Directive {
        name,
        kind,
        default,
        effect: Effect::Same,
    }
}

const fn idle(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    why: &'static str,
) -> Directive {
    Directive {
        name,
        kind,
        default,
        effect: Effect::None(why),
    }
}

use Kind::{Choice, Flag, List, Number, Text};

const NO_SETUID: &str = "nothing is set-uid here";
const NO_NETWORKS: &str = "ordinary users can only have the network none without set-uid";
const NO_LOOP: &str = "no loop devices are used";
const NO_LIBRARY: &str = "there is no container library; parts of images are fetched as needed";
const NO_MKSQUASHFS: &str = "mksquashfs is not used";

/// All directives, in the order of Apptainer's file.
#[rustfmt::skip]
pub const DIRECTIVES: &[Directive] = &[
    idle("allow setuid", Flag, "yes", NO_SETUID),
    idle("max loop devices", Number, "256", NO_LOOP),
    same("allow ipc ns", Flag, "yes"),
    same("allow pid ns", Flag, "yes"),
    same("allow user ns", Flag, "yes"),
    same("allow uts ns", Flag, "yes"),
    same("config passwd", Flag, "yes"),
    same("config group", Flag, "yes"),
    same("config resolv_conf", Flag, "yes"),
    same("mount proc", Flag, "yes"),
    same("mount sys", Flag, "yes"),
    same("mount dev", Choice(&["yes", "no", "minimal"]), "yes"),
    same("mount devpts", Flag, "yes"),
    same("mount home", Flag, "yes"),
    same("mount tmp", Flag, "yes"),
    same("mount hostfs", Flag, "no"),
    same("bind path", List, "/etc/localtime,/etc/hosts"),
    same("user bind control", Flag, "yes"),
    idle("enable fusemount", Flag, "yes", "--fusemount is not supported"),
    same("enable overlay", Choice(&["yes", "no", "try", "driver"]), "yes"),
    idle("enable underlay", Choice(&["yes", "no", "preferred"]), "yes",
        "missing bind points are shown by the image's own file system"),
    same("mount slave", Flag, "yes"),
    same("sessiondir max size", Number, "64"),
    same("limit container owners", List, ""),
    same("limit container groups", List, ""),
    same("limit container paths", List, ""),
    same("allow container sif", Flag, "yes"),
    same("allow container encrypted", Flag, "yes"),
    same("allow container squashfs", Flag, "yes"),
    same("allow container extfs", Flag, "yes"),
    same("allow container dir", Flag, "yes"),
    idle("allow setuid-mount encrypted", Flag, "yes", NO_SETUID),
    idle("allow setuid-mount squashfs", Choice(&["yes", "no", "iflimited"]), "iflimited", NO_SETUID),
    idle("allow setuid-mount extfs", Flag, "no", NO_SETUID),
    idle("allow net users", List, "", NO_NETWORKS),
    idle("allow net groups", List, "", NO_NETWORKS),
    idle("allow net networks", List, "", NO_NETWORKS),
    same("allow netns paths", List, ""),
    same("always use nv", Flag, "no"),
    same("use nvidia-container-cli", Flag, "no"),
    same("always use rocm", Flag, "no"),
    same("root default capabilities", Choice(&["full", "file", "no"]), "full"),
    same("memory fs type", Choice(&["tmpfs", "ramfs"]), "tmpfs"),
    idle("cni configuration path", Text, "", "CNI networks are not supported"),
    idle("cni plugin path", Text, "", "CNI networks are not supported"),
    idle("binary path", Text, "$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "the few helpers that are used are looked for in their usual places"),
    idle("mksquashfs procs", Number, "0", NO_MKSQUASHFS),
    idle("mksquashfs mem", Text, "", NO_MKSQUASHFS),
    idle("shared loop devices", Flag, "no", NO_LOOP),
    idle("image driver", Text, "", "there are no plugins that could bring one"),
    idle("download concurrency", Number, "3", NO_LIBRARY),
    idle("download part size", Number, "5242880", NO_LIBRARY),
    idle("download buffer size", Number, "32768", NO_LIBRARY),
    same("systemd cgroups", Flag, "yes"),
    idle("apptheus socket path", Text, "/run/apptheus/gateway.sock", "there is no such gateway"),
    idle("allow monitoring", Flag, "no", "there is no such gateway"),
];

/// The directive called `name`.
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name == name)
}
