//! The readable form of a plan, for `--dry-run`.

use std::fmt;

use super::{InitKind, LaunchPlan, RootPlan, Upper, UserNamespace, WritingPlan};
use crate::mount::{Condition, FileContent, MountSource, MountStep};
use crate::rootfs::BindPointKind;
use crate::security::capabilities;

impl fmt::Display for LaunchPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.root {
            RootPlan::Mounted => "mounted by the image server",
            RootPlan::Sandbox { overlay: true } => "bound, overlay for missing bind points",
            RootPlan::Sandbox { overlay: false } => "bound",
            RootPlan::Running => "that of a running instance",
        };
        writeln!(out, "image        {} ({root})", self.image.display())?;
        write_layers(&self.writing, out)?;
        let mut namespaces = vec![match self.namespaces.user {
            UserNamespace::Host => "user: the caller's",
            UserNamespace::Image => "user: the image's",
            UserNamespace::New => "user: new",
        }];
        let ids = self.namespaces.ids.as_ref().map(|ids| format!("ids {ids}"));
        namespaces.extend(ids.as_deref());
        namespaces.push("mount");
        match self.namespaces.pid {
            Some(InitKind::Shim) => namespaces.push("pid (with init)"),
            Some(InitKind::Payload) => namespaces.push("pid (no init)"),
            None => {}
        }
        for (wanted, name) in [
            (self.namespaces.ipc, "ipc"),
            (self.namespaces.uts, "uts"),
            (self.namespaces.net, "net"),
        ] {
            if wanted {
                namespaces.push(name);
            }
        }
        writeln!(out, "namespaces   {}", namespaces.join(", "))?;
        if let Some(path) = &self.network_path {
            writeln!(out, "network      {}", path.display())?;
        }
        if let Some(limits) = &self.limits {
            writeln!(out, "limits       {}", limits.summary())?;
        }
        if let Some(name) = &self.hostname {
            writeln!(out, "hostname     {name}")?;
        }
        for point in &self.bind_points {
            let kind = match point.kind {
                BindPointKind::Directory => "directory",
                BindPointKind::File => "file",
            };
            writeln!(out, "bind point   {} ({kind})", point.path.display())?;
        }
        for step in &self.mounts {
            writeln!(out, "mount        {step}")?;
        }
        let working = &self.working_directory;
        write!(out, "directory    {}", working.path.display())?;
        for fallback in &working.fallbacks {
            write!(out, ", else {}", fallback.display())?;
        }
        writeln!(out)?;
        writeln!(out, "home         {}", self.home.display())?;
        writeln!(out, "umask        {:04o}", self.umask)?;
        let security = &self.security;
        let mut privileges = Vec::new();
        if security.no_new_privileges {
            privileges.push("no new ones".to_owned());
        }
        match security.capabilities {
            0 => privileges.push("no capabilities".to_owned()),
            capabilities::ALL if privileges.is_empty() => privileges.push("kept".to_owned()),
            capabilities::ALL => privileges.push("all capabilities".to_owned()),
            some => privileges.push(format!("capabilities {some:#x}")),
        }
        writeln!(out, "privileges   {}", privileges.join(", "))?;
        for filter in &security.filters {
            writeln!(out, "filter       {filter:?}")?;
        }
        if let Some(command) = &self.fakeroot {
            writeln!(out, "under        {}", command.script.display())?;
        }
        let environment = &self.script.environment;
        writeln!(
            out,
            "environment  {} variables, then the image's scripts",
            environment.variables.len()
        )?;
        for item in &environment.overrides {
            let (name, value) = (item.name.display(), item.value.display());
            writeln!(out, "override     {name}={value}")?;
        }
        write!(out, "program      {}", self.script.action)?;
        for argument in &self.script.arguments {
            write!(out, " {}", argument.display())?;
        }
        writeln!(out)
    }
}

fn write_layers(writing: &WritingPlan, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for layer in &writing.lower {
        writeln!(out, "layer        {} (ro)", layer.path.display())?;
    }
    match &writing.upper {
        Upper::Layer(layer) => writeln!(out, "layer        {} (written to)", layer.path.display()),
        Upper::Memory => writeln!(out, "layer        memory (written to, not kept)"),
        Upper::None if writing.root => writeln!(out, "written to   the image itself"),
        Upper::None => Ok(()),
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{}] ", self.tag)?;
        match &self.source {
            MountSource::Host { path } => write!(out, "{}", path.display())?,
            MountSource::HostDirectory { path, .. } => {
                write!(out, "{} (made if missing)", path.display())?;
            }
            MountSource::Image { image, inside, .. } => {
                write!(out, "{} of image {}", inside.display(), image.display())?;
            }
            MountSource::EmptyDirectory { mode } => write!(out, "empty directory {mode:04o}")?,
            MountSource::File(FileContent::HostCopy(path)) => {
                write!(out, "copy of {}", path.display())?;
            }
            MountSource::File(FileContent::Text(_)) => out.write_str("generated text")?,
            MountSource::File(FileContent::Passwd(edit)) => {
                write!(out, "image's file with user {}", edit.name)?;
            }
            MountSource::File(FileContent::Group(edit)) => {
                write!(out, "image's file with {} groups", edit.groups.len())?;
            }
            MountSource::Libraries { libraries, .. } => {
                write!(out, "{} libraries of the host", libraries.len())?;
            }
            MountSource::Injected { path } => write!(out, "{} (exactly there)", path.display())?,
            MountSource::Devices(wish) => write!(out, "{} device nodes", wish.nodes.len())?,
            MountSource::Proc => out.write_str("new proc")?,
            MountSource::Sysfs => out.write_str("new sysfs")?,
        }
        write!(out, " -> {}", self.destination.display())?;
        let flags: Vec<&str> = [
            (self.flags.read_only, "ro"),
            (self.flags.no_suid, "nosuid"),
            (self.flags.no_dev, "nodev"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        if !flags.is_empty() {
            write!(out, " ({})", flags.join(","))?;
        }
        match &self.condition {
            Condition::Always => Ok(()),
            Condition::UnlessPresent => out.write_str(" unless present"),
            Condition::UnlessSameAs(path) => write!(out, " unless it is {}", path.display()),
        }
    }
}
