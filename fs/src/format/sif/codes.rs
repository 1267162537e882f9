//! The numbers of the format and their names as `sif list` shows them.

use std::fmt;

/// Declares a set of codes: number, variant, name. Other numbers are kept as they are.
macro_rules! codes {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$doc:meta])* $variant:ident = $code:literal, $text:literal;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number without a meaning.
            Unknown(i32),
        }

        impl $name {
            /// From the number on disk.
            pub const fn from_code(code: i32) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Unknown(other),
                }
            }

            /// The number on disk.
            pub const fn code(self) -> i32 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Unknown(code) => code,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown(_) => "Unknown",
                })
            }
        }
    };
}

codes! {
    /// What an object is.
    DataType {
        /// The definition file that the image was built from.
        Definition = 0x4001, "Def.FILE";
        /// Environment variables; no longer written.
        Environment = 0x4002, "Env.Vars";
        /// Labels; no longer written.
        Labels = 0x4003, "JSON.Labels";
        /// A file system.
        Partition = 0x4004, "FS";
        /// A signature of other objects.
        Signature = 0x4005, "Signature";
        /// JSON that its name tells the meaning of.
        GenericJson = 0x4006, "JSON.Generic";
        /// Anything.
        Generic = 0x4007, "Generic/Raw";
        /// An encrypted key.
        Message = 0x4008, "Cryptographic Message";
        /// A software bill of materials.
        Sbom = 0x4009, "SBOM";
        /// The index of an OCI image.
        OciRootIndex = 0x400A, "OCI.RootIndex";
        /// A blob of an OCI image.
        OciBlob = 0x400B, "OCI.Blob";
    }
}

codes! {
    /// What a partition is formatted as.
    FsType {
        /// squashfs.
        Squashfs = 1, "Squashfs";
        /// ext3, as a writable overlay.
        Ext3 = 2, "Ext3";
        /// Reserved for an archive.
        Archive = 3, "Archive";
        /// Nothing known.
        Raw = 4, "Raw";
        /// squashfs in a LUKS2 container.
        EncryptedSquashfs = 5, "Encrypted squashfs";
        /// squashfs encrypted by gocryptfs, in another squashfs.
        GocryptfsSquashfs = 6, "Gocryptfs squashfs";
    }
}

codes! {
    /// What a partition is for.
    PartitionType {
        /// A root file system.
        System = 1, "System";
        /// The root file system.
        PrimarySystem = 2, "*System";
        /// Data to be bound.
        Data = 3, "Data";
        /// Writable layer over the root.
        Overlay = 4, "Overlay";
    }
}

codes! {
    /// Digest algorithm of a signature.
    HashType {
        /// SHA-256.
        Sha256 = 1, "SHA-256";
        /// SHA-384.
        Sha384 = 2, "SHA-384";
        /// SHA-512.
        Sha512 = 3, "SHA-512";
        /// BLAKE2s, 256 bits.
        Blake2s256 = 4, "BLAKE2s-256";
        /// BLAKE2b, 256 bits.
        Blake2b256 = 5, "BLAKE2b-256";
    }
}

codes! {
    /// How a cryptographic message is written.
    MessageFormat {
        /// OpenPGP.
        OpenPgp = 1, "OpenPGP";
        /// PEM.
        Pem = 2, "PEM";
    }
}

codes! {
    /// What a cryptographic message holds.
    MessageType {
        /// Clear-signed text.
        ClearSigned = 0x100, "Clear Signature";
        /// A key encrypted with RSA-OAEP.
        RsaOaep = 0x200, "RSA-OAEP";
    }
}

codes! {
    /// How a bill of materials is written.
    SbomFormat {
        /// CycloneDX as JSON.
        CycloneDxJson = 1, "cyclonedx-json";
        /// CycloneDX as XML.
        CycloneDxXml = 2, "cyclonedx-xml";
        /// GitHub's JSON.
        GitHubJson = 3, "github-json";
        /// SPDX as JSON.
        SpdxJson = 4, "spdx-json";
        /// SPDX as RDF.
        SpdxRdf = 5, "spdx-rdf";
        /// SPDX as tags and values.
        SpdxTagValue = 6, "spdx-tag-value";
        /// SPDX as YAML.
        SpdxYaml = 7, "spdx-yaml";
        /// Syft's JSON.
        SyftJson = 8, "syft-json";
    }
}

/// Machine that a partition's programs are for, stored as two ASCII digits and a NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arch {
    /// Not stated, or a code without a meaning.
    Unknown,
    /// 32-bit x86.
    I386,
    /// 64-bit x86.
    Amd64,
    /// 32-bit Arm.
    Arm,
    /// 64-bit Arm.
    Arm64,
    /// 64-bit POWER, big endian.
    Ppc64,
    /// 64-bit POWER, little endian.
    Ppc64le,
    /// 32-bit MIPS, big endian.
    Mips,
    /// 32-bit MIPS, little endian.
    Mipsle,
    /// 64-bit MIPS, big endian.
    Mips64,
    /// 64-bit MIPS, little endian.
    Mips64le,
    /// IBM Z.
    S390x,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    Loong64,
}

/// Code, machine, Go's name for it.
const ARCHES: [(&[u8; 3], Arch, &str); 14] = [
    (b"00\0", Arch::Unknown, "unknown"),
    (b"01\0", Arch::I386, "386"),
    (b"02\0", Arch::Amd64, "amd64"),
    (b"03\0", Arch::Arm, "arm"),
    (b"04\0", Arch::Arm64, "arm64"),
    (b"05\0", Arch::Ppc64, "ppc64"),
    (b"06\0", Arch::Ppc64le, "ppc64le"),
    (b"07\0", Arch::Mips, "mips"),
    (b"08\0", Arch::Mipsle, "mipsle"),
    (b"09\0", Arch::Mips64, "mips64"),
    (b"10\0", Arch::Mips64le, "mips64le"),
    (b"11\0", Arch::S390x, "s390x"),
    (b"12\0", Arch::Riscv64, "riscv64"),
    (b"13\0", Arch::Loong64, "loong64"),
];

impl Arch {
    /// From the three bytes on disk.
    pub fn from_code(code: [u8; 3]) -> Self {
        ARCHES
            .iter()
            .find(|(known, ..)| **known == code)
            .map_or(Self::Unknown, |(_, arch, _)| *arch)
    }

    /// The three bytes on disk.
    pub fn code(self) -> [u8; 3] {
        ARCHES
            .iter()
            .find(|(_, arch, _)| *arch == self)
            .map_or(*b"00\0", |(code, ..)| **code)
    }

    /// The machine this program was compiled for.
    pub fn host() -> Self {
        let big = cfg!(target_endian = "big");
        match std::env::consts::ARCH {
            "x86" => Self::I386,
            "x86_64" => Self::Amd64,
            "arm" => Self::Arm,
            "aarch64" => Self::Arm64,
            "powerpc64" if big => Self::Ppc64,
            "powerpc64" => Self::Ppc64le,
            "mips" if big => Self::Mips,
            "mips" => Self::Mipsle,
            "mips64" if big => Self::Mips64,
            "mips64" => Self::Mips64le,
            "s390x" => Self::S390x,
            "riscv64" => Self::Riscv64,
            "loongarch64" => Self::Loong64,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ARCHES.iter().find(|(_, arch, _)| arch == self);
        f.pad(name.map_or("unknown", |(.., name)| name))
    }
}
