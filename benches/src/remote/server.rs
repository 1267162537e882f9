//! The server of the benchmark: a process of its own, in the namespace at the other end of the link.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use skiff_tests::web::{Authority, Content, Server, Setup, Site};

/// Options of the server.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The image, served as /image.sif
    #[arg(long)]
    pub file: PathBuf,
    /// An image that was built with an access profile, served as /profiled.sif
    #[arg(long)]
    pub profiled: PathBuf,
    /// Where to listen
    #[arg(long)]
    pub address: IpAddr,
    /// How long every request takes beside the transfer
    #[arg(long)]
    pub latency_ms: u64,
    /// Folder for the authority's certificate (ca.pem), the URL (url) and the figures (figures)
    #[arg(long)]
    pub state: PathBuf,
}

/// Serves until it is ended, or whoever started it is.
///
/// # Errors
/// When the image or the folder cannot be used.
pub fn serve(args: &ServeArgs) -> Result<()> {
    let authority = Authority::new();
    let name = args.address.to_string();
    let setup = Setup {
        address: SocketAddr::new(args.address, 0),
        tls: Some(authority.server(&[&name])),
        name,
        latency: Duration::from_millis(args.latency_ms),
    };
    let content =
        |file: &Path| Content::file(file).with_context(|| format!("opening {}", file.display()));
    let site = Site::with("/image.sif", content(&args.file)?);
    site.put("/profiled.sif", content(&args.profiled)?);
    let server = Server::with(setup, site);
    let write = |name: &str, text: &str| {
        let path = args.state.join(name);
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .with_context(|| format!("writing {}", path.display()))
    };
    write("ca.pem", &authority.certificate)?;
    write("url", &server.url("/image.sif"))?;
    loop {
        let log = server.log();
        write(
            "figures",
            &format!("{} {}", log.data_requests(), log.data_bytes()),
        )?;
        std::thread::sleep(Duration::from_millis(200));
    }
}
