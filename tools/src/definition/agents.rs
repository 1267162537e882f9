//! What makes the first files of a root file system.

/// Ways to begin, by the value of `Bootstrap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agent {
    /// An image of a registry.
    Docker,
    /// A file that `docker save` wrote.
    DockerArchive,
    /// An image of a Docker service.
    DockerDaemon,
    /// An OCI layout.
    Oci,
    /// A file with an OCI layout.
    OciArchive,
    /// An image of a library service.
    Library,
    /// An image file from a registry.
    Oras,
    /// An image of a service that is gone.
    Shub,
    /// An image file or a directory.
    LocalImage,
    /// Packages of Red Hat's kind.
    Yum,
    /// Packages of SUSE's kind.
    Zypper,
    /// Packages of Debian's kind.
    Debootstrap,
    /// Packages of Arch Linux.
    Arch,
    /// One program.
    Busybox,
    /// Nothing.
    Scratch,
}

impl Agent {
    /// The agent called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn by_name(name: &str) -> Result<Self, String> {
        Ok(match name {
            "docker" => Self::Docker,
            "docker-archive" => Self::DockerArchive,
            "docker-daemon" => Self::DockerDaemon,
            "oci" => Self::Oci,
            "oci-archive" => Self::OciArchive,
            "library" => Self::Library,
            "oras" => Self::Oras,
            "shub" => Self::Shub,
            "localimage" => Self::LocalImage,
            "yum" | "dnf" => Self::Yum,
            "zypper" => Self::Zypper,
            "debootstrap" => Self::Debootstrap,
            "arch" => Self::Arch,
            "busybox" => Self::Busybox,
            "scratch" => Self::Scratch,
            "" => return Err("no bootstrap specification found".to_owned()),
            other => return Err(format!("invalid build source {other}")),
        })
    }

    /// Whether it makes the file system from an OCI image, whose configuration goes along.
    pub fn is_oci(self) -> bool {
        matches!(
            self,
            Self::Docker | Self::DockerArchive | Self::DockerDaemon | Self::Oci | Self::OciArchive
        )
    }

    /// Whether it makes the file system from an image file or a directory, of which the files in
    /// `/.singularity.d` are kept.
    pub fn is_image(self) -> bool {
        matches!(
            self,
            Self::Library | Self::Oras | Self::Shub | Self::LocalImage
        )
    }
}
