//! Credential helpers: programs `docker-credential-NAME` that know passwords.
//!
//! They are given a server on standard input and answer with JSON. A helper that knows nothing fails
//! with a certain text, which is no error for us.

use std::env;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::super::error::RemoteError;
use super::super::options::Places;
use super::config_file::Credentials;

/// Some ask a service in the cloud; one that asks a person would wait for ever.
const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: u64 = 64 << 10;
/// The texts by which helpers say that they know nothing.
const UNKNOWN: [&str; 2] = ["credentials not found", "no credentials server URL"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper about a server.
pub(super) fn get(
    places: &Places,
    name: &str,
    server: &str,
) -> Result<Option<Credentials>, RemoteError> {
    let name_is_good = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| RemoteError::Configuration {
        file: program.clone(),
        reason,
    };
    if !name_is_good {
        return Err(failed("no name of a credential helper".to_owned()));
    }
    let path = find(places, &program).ok_or_else(|| failed("not found in $PATH".to_owned()))?;
    let (succeeded, output) = run(path, server, PATIENCE).map_err(failed)?;
    let text = String::from_utf8_lossy(&output);
    if !succeeded {
        let lower = text.to_lowercase();
        if UNKNOWN
            .iter()
            .any(|unknown| lower.contains(&unknown.to_lowercase()))
        {
            return Ok(None);
        }
        let line: String = text
            .lines()
            .next()
            .unwrap_or("no reason given")
            .chars()
            .take(200)
            .collect();
        return Err(failed(line));
    }
    // The parser's text is left out: it might repeat what it read.
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|_| failed("its answer cannot be understood".to_owned()))?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == "<token>" {
        Credentials::Identity {
            token: answer.secret,
        }
    } else {
        Credentials::Password {
            username: answer.username,
            password: answer.secret,
        }
    }))
}

fn find(places: &Places, program: &str) -> Option<PathBuf> {
    let path = places.path.as_ref()?;
    env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Runs it with the server on standard input; whether it succeeded, and what it wrote.
fn run(program: PathBuf, server: &str, patience: Duration) -> Result<(bool, Vec<u8>), String> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let done = talk(&mut child, server, patience);
    if done.is_err() {
        // Whether it is killed or has ended meanwhile is the same to us.
        drop(child.kill());
        drop(child.wait());
    }
    done
}

fn talk(child: &mut Child, server: &str, patience: Duration) -> Result<(bool, Vec<u8>), String> {
    let deadline = Instant::now() + patience;
    if let Some(mut input) = child.stdin.take() {
        // One that needs no input may have closed it; its answer counts.
        drop(input.write_all(server.as_bytes()));
    }
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read will not parse.
        drop(output.map(|output| output.take(LONGEST_ANSWER).read_to_end(&mut bytes)));
        bytes
    });
    let mut pause = Duration::from_millis(2);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() >= deadline {
            return Err(format!("no answer for {} s", patience.as_secs()));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    };
    // A grandchild may hold the pipe open; what was written is not waited for longer than the helper.
    while !reader.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    if !reader.is_finished() {
        return Err("its output does not end".to_owned());
    }
    Ok((status.success(), reader.join().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ask(script: &str) -> Result<Option<Credentials>, RemoteError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let places = Places {
            path: Some(directory.path().into()),
            ..Places::default()
        };
        get(&places, "test", "reg.example")
    }

    #[test]
    fn helpers_are_asked() {
        let answer = r#"read server; [ "$1" = get ] && echo "{\"ServerURL\":\"$server\",\"Username\":\"$server\",\"Secret\":\"s\"}""#;
        let expected = Credentials::Password {
            username: "reg.example".to_owned(),
            password: "s".to_owned(),
        };
        assert_eq!(ask(answer).unwrap(), Some(expected));
        let token = r#"echo '{"ServerURL":"","Username":"<token>","Secret":"t"}'"#;
        assert_eq!(
            ask(token).unwrap(),
            Some(Credentials::Identity {
                token: "t".to_owned()
            })
        );
    }

    #[test]
    fn one_that_knows_nothing_is_no_error() {
        assert_eq!(
            ask("echo credentials not found in native keychain; exit 1").unwrap(),
            None
        );
    }

    #[test]
    fn one_that_fails_is_named() {
        for (script, text) in [
            (
                "echo the keychain is locked; exit 1",
                "the keychain is locked",
            ),
            ("echo secret", "cannot be understood"),
            ("exit 3", "no reason given"),
        ] {
            let error = ask(script).unwrap_err().to_string();
            assert!(
                error.contains(text) && error.contains("docker-credential-test"),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
        let error = get(&Places::default(), "none", "x")
            .unwrap_err()
            .to_string();
        assert!(error.contains("not found in $PATH"), "{error}");
        assert!(get(&Places::default(), "../x", "x").is_err());
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-slow");
        fs::write(&path, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let start = Instant::now();
        let error = run(path, "x", Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("no answer") && start.elapsed() < Duration::from_secs(50));
    }
}
