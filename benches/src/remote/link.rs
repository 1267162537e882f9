//! A link of known speed: two ends of a virtual cable, one in a network namespace of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::locate;

/// Addresses that are set aside for benchmarks (RFC 2544).
const NEAR: &str = "198.18.77.1/30";
const FAR: &str = "198.18.77.2/30";

/// The far end's address.
pub const SERVER: &str = "198.18.77.2";

/// A namespace with a server in it; both go with this value.
#[derive(Debug)]
pub struct Link {
    name: String,
    near: String,
    server: Option<Child>,
}

/// Why there can be no link here, if so.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("the link needs root".to_owned());
    }
    ["ip", "tc"]
        .into_iter()
        .find(|program| locate::system(program).is_none())
        .map(|program| format!("{program} is missing (apt install iproute2)"))
}

impl Link {
    /// Lays a cable of `megabits` per second.
    ///
    /// # Errors
    /// When the kernel lacks what it takes.
    pub fn new(megabits: u32) -> Result<Self> {
        let id = std::process::id();
        let link = Self {
            name: format!("skiff-bench-{id}"),
            near: format!("skb{id}n"),
            server: None,
        };
        let (name, near, far) = (&link.name, &link.near, format!("skb{id}f"));
        tool("ip", &["netns", "add", name])?;
        tool(
            "ip",
            &[
                "link", "add", near, "type", "veth", "peer", "name", &far, "netns", name,
            ],
        )?;
        tool("ip", &["address", "add", NEAR, "dev", near])?;
        tool("ip", &["link", "set", near, "up"])?;
        tool("ip", &["-n", name, "address", "add", FAR, "dev", &far])?;
        tool("ip", &["-n", name, "link", "set", &far, "up"])?;
        tool("ip", &["-n", name, "link", "set", "lo", "up"])?;
        let rate = format!("{megabits}mbit");
        let shape = |device: &str| -> Vec<String> {
            ["qdisc", "add", "dev", device, "root", "tbf", "rate", &rate]
                .into_iter()
                .chain(["burst", "512kb", "latency", "20ms"])
                .map(str::to_owned)
                .collect()
        };
        let here = shape(near);
        tool("tc", &here.iter().map(String::as_str).collect::<Vec<_>>())?;
        let there = shape(&far);
        let mut arguments = vec!["netns", "exec", name.as_str(), "tc"];
        arguments.extend(there.iter().map(String::as_str));
        tool("ip", &arguments)?;
        Ok(link)
    }

    /// Starts this program's own server at the far end and waits until it has written its URL.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(
        &mut self,
        [file, profiled]: [&Path; 2],
        latency: Duration,
        state: &Path,
    ) -> Result<String> {
        let own = std::env::current_exe()?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(own)
            .args(["serve", "--address", SERVER])
            .arg("--latency-ms")
            .arg(latency.as_millis().to_string())
            .arg("--file")
            .arg(file)
            .arg("--profiled")
            .arg(profiled)
            .arg("--state")
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting the server")?;
        self.server = Some(child);
        let begin = Instant::now();
        loop {
            if let Ok(url) = std::fs::read_to_string(state.join("url")) {
                return Ok(url);
            }
            if begin.elapsed() > Duration::from_secs(10) {
                bail!("the server did not start");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // `ip netns exec` becomes what it starts: this is the server. It may have ended already.
            let _ended = server.kill();
            let _ended = server.wait();
        }
        // The cable goes with the namespace.
        let _left = tool("ip", &["netns", "delete", &self.name]);
        let _gone = Command::new("ip")
            .args(["link", "delete", &self.near])
            .stderr(Stdio::null())
            .status();
    }
}

fn tool(program: &str, arguments: &[&str]) -> Result<()> {
    let path = locate::system(program).with_context(|| format!("{program} is missing"))?;
    let status = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting {program}"))?;
    if !status.success() {
        bail!("{status}: {program} {}", arguments.join(" "));
    }
    Ok(())
}
