//! Arguments of the commands that look into images: `inspect`, `run-help`, `sif`.

use std::ffi::OsString;

use clap::Args;

use super::remote::RemoteArgs;
use super::value::{int_parser, int32_parser, uint32_parser};

/// `inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// Show all there is, as JSON
    #[arg(long)]
    pub all: bool,
    /// Look at this application (SCIF) of the image
    #[arg(long, value_name = "string")]
    pub app: Option<String>,
    /// Show the definition file that the image was built from
    #[arg(long, short)]
    pub deffile: bool,
    /// Show the environment that the image sets
    #[arg(long, short)]
    pub environment: bool,
    /// Show the image's help
    #[arg(long, short = 'H')]
    pub helpfile: bool,
    /// Print JSON instead of text
    #[arg(long, short)]
    pub json: bool,
    /// Show the labels (default)
    #[arg(long, short)]
    pub labels: bool,
    /// List the applications in the image
    #[arg(long)]
    pub list_apps: bool,
    /// Show the script of run
    #[arg(long, short)]
    pub runscript: bool,
    /// Show the script of instances
    #[arg(long, short)]
    pub startscript: bool,
    /// Show the script of test
    #[arg(long, short)]
    pub test: bool,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `run-help`.
#[derive(Args, Clone, Debug)]
pub struct RunHelpArgs {
    /// Show the help of this application (SCIF)
    #[arg(long, value_name = "string")]
    pub app: Option<String>,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `sif add`.
#[derive(Args, Clone, Debug)]
pub struct SifAddArgs {
    /// Where the object starts: at a multiple of this [default: 4096 with --datatype 4, else any]
    #[arg(long, value_name = "int", value_parser = int_parser())]
    pub alignment: Option<i64>,
    /// What the object is: 1-Deffile, 2-EnvVar, 3-Labels, 4-Partition, 5-Signature, 6-GenericJSON,
    /// 7-Generic, 8-CryptoMessage, 9-SBOM, 10-OCI.RootIndex, 11-OCI.Blob
    #[arg(long, value_name = "int", value_parser = int_parser())]
    pub datatype: Option<i64>,
    /// Name of the object
    #[arg(long, value_name = "string")]
    pub filename: Option<String>,
    /// Group of the object
    #[arg(long, value_name = "uint32", value_parser = uint32_parser())]
    pub groupid: Option<u32>,
    /// Object that it refers to
    #[arg(long, value_name = "uint32", value_parser = uint32_parser())]
    pub link: Option<u32>,
    /// Machine of a partition: 1-386, 2-amd64, 3-arm, 4-arm64, 5-ppc64, 6-ppc64le, 7-mips,
    /// 8-mipsle, 9-mips64, 10-mips64le, 11-s390x, 12-riscv64
    #[arg(long, value_name = "int32", value_parser = int32_parser())]
    pub partarch: Option<i32>,
    /// File system of a partition: 1-Squash, 2-Ext3, 3-ImmuObj, 4-Raw
    #[arg(long, value_name = "int32", value_parser = int32_parser())]
    pub partfs: Option<i32>,
    /// Purpose of a partition: 1-System, 2-PrimSys, 3-Data, 4-Overlay
    #[arg(long, value_name = "int32", value_parser = int32_parser())]
    pub parttype: Option<i32>,
    /// Format of a bill of materials: cyclonedx-json, cyclonedx-xml, github-json, spdx-json,
    /// spdx-rdf, spdx-tag-value, spdx-yaml, syft-json
    #[arg(long, value_name = "string")]
    pub sbomformat: Option<String>,
    /// Fingerprint of a signature's key, such as 433FE984155206BD962725E20E8713472A879943
    #[arg(long, value_name = "string")]
    pub signentity: Option<String>,
    /// Hash of a signature: 1-SHA256, 2-SHA384, 3-SHA512, 4-BLAKE2s_256, 5-BLAKE2b_256
    #[arg(long, value_name = "int32", value_parser = int32_parser())]
    pub signhash: Option<i32>,
    /// The SIF and the file to be added.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}

/// The verbs under `sif`; flags may stand behind words here.
#[derive(Args, Clone, Debug)]
pub struct SifArgs {
    /// What the verb asks for.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}
