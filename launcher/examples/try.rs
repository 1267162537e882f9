#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "scratch"
)]
use skiff_launcher::request::*;
use skiff_launcher::*;
use std::ffi::OsString;
use std::path::PathBuf;
fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    let mut r = LaunchRequest {
        action: Action::Exec(vec![]),
        image: ImageRequest {
            path: PathBuf::new(),
            name: OsString::new(),
            kind: RootKind::Sandbox,
        },
        prompt: "x> ".into(),
        binds: vec![],
        home: HomeWish::Default,
        contain: false,
        no_mount: vec![],
        workdir: None,
        scratch: vec![],
        cwd: None,
        host_cwd: std::env::var_os("PWD").map(PathBuf::from).unwrap(),
        namespaces: NamespaceWish::default(),
        hostname: None,
        dns: vec![],
        environment: EnvironmentWish {
            host: std::env::vars_os().collect(),
            ..Default::default()
        },
        no_umask: false,
        shell: None,
        app: None,
    };
    let mut dry = 0;
    let image = loop {
        let a = args.next().unwrap();
        let s = a.to_string_lossy().into_owned();
        let mut next = || args.next().unwrap().to_string_lossy().into_owned();
        match s.as_str() {
            "-B" => match mount::bind::parse_binds(&next()) {
                Ok(b) => r.binds.extend(b),
                Err(e) => {
                    eprintln!("FATAL:   {e}");
                    return 255.into();
                }
            },
            "--mount" => match mount::bind::parse_mounts(&next()) {
                Ok(b) => r.binds.extend(b),
                Err(e) => {
                    eprintln!("FATAL:   {e}");
                    return 255.into();
                }
            },
            "-c" => r.contain = true,
            "-C" => {
                r.contain = true;
                r.namespaces.pid = true;
                r.namespaces.ipc = true;
            }
            "-p" => r.namespaces.pid = true,
            "-i" => r.namespaces.ipc = true,
            "--uts" => r.namespaces.uts = true,
            "--net" => r.namespaces.net = true,
            "--network" => {
                next();
            }
            "--no-init" => r.namespaces.no_init = true,
            "--no-home" => r.home = HomeWish::None,
            "--no-umask" => r.no_umask = true,
            "-H" => {
                let v = next();
                let (s, d) = v.split_once(':').unwrap_or((&v, &v));
                r.home = HomeWish::Custom {
                    source: s.into(),
                    destination: d.into(),
                };
            }
            "--no-mount" => r.no_mount = next().split(',').map(str::to_owned).collect(),
            "-W" => r.workdir = Some(next().into()),
            "-S" => r.scratch = next().split(',').map(PathBuf::from).collect(),
            "--pwd" => r.cwd = Some(next()).filter(|s| !s.is_empty()).map(PathBuf::from),
            "--hostname" => r.hostname = Some(next()),
            "--dns" => r.dns = next().split(',').map(|s| s.parse().unwrap()).collect(),
            "--dry-run" => dry = 1,
            "--json" => dry = 2,
            _ => break PathBuf::from(a),
        }
    };
    r.image.path = std::fs::canonicalize(&image).unwrap();
    let command: Vec<OsString> = args.collect();
    r.action = Action::Exec(command.clone());
    let mut report = |l: Level, s: &str| {
        if l >= Level::Info {
            eprintln!("{}: {s}", format!("{l:?}").to_uppercase())
        }
    };
    let mut run = || -> Result<u8, LaunchError> {
        let config = config::Config::find()?;
        let facts = host::HostFacts::probe(&config);
        let plan = plan::plan(&r, &config, &facts, &host::RealPaths, &mut report)?;
        if dry == 1 {
            print!("{plan}");
            return Ok(0);
        }
        if dry == 2 {
            println!("{}", serde_json::to_string_pretty(&plan).unwrap());
            return Ok(0);
        }
        let home = plan.home.clone();
        process::launch(
            &plan,
            None,
            &mut |_| {
                let name = PathBuf::from(&command[0]);
                let path = if name.is_absolute() || command[0].to_string_lossy().contains('/') {
                    name
                } else {
                    PathBuf::from("/bin").join(name)
                };
                let mut environment: Vec<_> = r
                    .environment
                    .host
                    .iter()
                    .filter(|(k, _)| k != "PATH" && k != "HOME" && k != "PWD")
                    .cloned()
                    .collect();
                environment.push(("PATH".into(), "/bin:/usr/bin".into()));
                environment.push(("HOME".into(), home.clone().into()));
                Ok(process::Program {
                    path,
                    arguments: command.clone(),
                    environment,
                })
            },
            &mut report,
        )
    };
    match run() {
        Ok(code) => code.into(),
        Err(e) => {
            eprintln!("FATAL:   {e}");
            255.into()
        }
    }
}
